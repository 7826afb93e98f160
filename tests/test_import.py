"""``import decaf`` and ``decaf --help`` are quick: they load nothing heavy."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import pytest

import decaf

HEAVY = {"PIL", "h5py", "numpy", "safetensors", "scipy", "sklearn", "torch", "torchvision", "tqdm"}


def loaded_by(code: str, env: dict[str, str]) -> set[str]:
    """Return the top-level packages that a fresh interpreter has loaded after some code."""
    code += "\nimport sys; print('loaded:', *{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True
    )
    return set(done.stdout.rpartition("loaded:")[2].split())


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "import decaf; dir(decaf); decaf.DecafError; import decaf.errors",
        "import decaf.cli.main",
        "from decaf.cli.main import main; assert main(['--help']) == 0",
        "from decaf.cli.main import main; assert main(['extract', '--help']) == 0",
        "from decaf.cli.main import main; assert main(['info']) == 2",
    ],
)
def test_nothing_heavy_is_loaded(code: str, child_env: dict[str, str]) -> None:
    assert not loaded_by(code, child_env) & HEAVY


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "seconds"), [("import decaf", 0.1), ("import decaf.__main__", 0.4)]
)
def test_importing_is_quick(code: str, seconds: float, child_env: dict[str, str]) -> None:
    if "__main__" in code:
        code = "from decaf.cli.main import main; main(['--help'])"

    def spent(code: str) -> float:
        # Of the processor, and of several tries the best: the machine may be busy with others.
        code += "\nimport sys, time; print(time.process_time(), file=sys.stderr)"
        command = [sys.executable, "-S", "-c", code]
        told = [
            subprocess.run(command, capture_output=True, text=True, env=child_env, check=True)
            for _ in range(5)
        ]
        return min(float(each.stderr) for each in told)

    assert spent(code) - spent("pass") < seconds


@pytest.mark.slow
def test_decoders_are_started_before_torch_is_loaded(child_env: dict[str, str]) -> None:
    """They load theirs meanwhile."""
    modules = "decaf.features.extract, decaf.classify.classifier, decaf.evaluate.classification"
    assert "torch" not in loaded_by(f"import {modules}, decaf.train.pack.build", child_env)


def test_every_public_name_is_there() -> None:
    for name in decaf.__all__:
        assert getattr(decaf, name) is not None
        assert name in dir(decaf)


def test_no_name_that_is_loaded_later_is_that_of_a_module() -> None:
    """Importing the module would put it where the name was."""
    below = pkgutil.walk_packages(decaf.__path__, "decaf.")
    for name in ["decaf", *(module.name for module in below if module.ispkg)]:
        package = importlib.import_module(name)
        if hasattr(package, "__getattr__"):
            modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
            assert not modules & set(package.__all__), name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'decaf' has no attribute 'nothing'"):
        decaf.nothing  # noqa: B018
    assert not hasattr(decaf, "__wrapped__")


def test_a_lazy_name_is_looked_up_once() -> None:
    assert decaf.open_features is decaf.open_features
    assert "open_features" in vars(decaf)


def test_import_star_gives_the_public_names() -> None:
    names: dict[str, object] = {}
    exec("from decaf import *", names)
    assert {name: names[name] for name in decaf.__all__} == {
        name: getattr(decaf, name) for name in decaf.__all__
    }
