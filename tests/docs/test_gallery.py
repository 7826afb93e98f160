"""The examples of the gallery: small, seeded, without a network, and each runs."""

from __future__ import annotations

import ast
import io
import os
import re
import runpy
import socket
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch

GALLERY = Path(__file__).resolve().parents[2] / "docs" / "gallery"
EXAMPLES = sorted(GALLERY.glob("*/plot_*.py"))
# What decaf and its extra `docs` install.
INSTALLED = {"PIL", "decaf", "matplotlib", "numpy", "scipy", "sklearn"} | set(
    sys.stdlib_module_names
)

every_example = pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Pages are built so, and threads that wait for one another are slow on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def printed(monkeypatch, tmp_path):
    """Run an example, and return what it prints and how many figures it shows."""
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("Agg")
    figures = []

    def show():
        for number in plt.get_fignums():
            file = io.BytesIO()
            plt.figure(number).savefig(file, format="png")
            figures.append(file.getvalue())
        plt.close("all")

    def refuse(*_):
        raise OSError("an example of the gallery asks for a network")

    monkeypatch.setattr(plt, "show", show)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.chdir(tmp_path)

    def run(path):
        with redirect_stdout(io.StringIO()) as text:
            runpy.run_path(str(path), run_name="example")
        assert not list(tmp_path.iterdir()), "an example leaves files behind"
        return text.getvalue(), len(figures)

    yield run
    plt.close("all")


def test_there_are_enough():
    assert len(EXAMPLES) >= 12


@every_example
def test_it_begins_with_a_title_and_has_cells(path):
    text = path.read_text(encoding="utf-8")
    match = re.match(r'"""\n(.+)\n(=+)\n\n\S', text)
    assert match, "a docstring with a title, underlined, and what the example shows"
    assert len(match[1]) == len(match[2])
    assert text.count("\n# %%\n") >= 2


@every_example
def test_it_imports_what_is_there_and_draws_by_a_seed(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert {alias.name.partition(".")[0] for alias in node.names} <= INSTALLED
        if isinstance(node, ast.ImportFrom):
            assert node.module.partition(".")[0] in INSTALLED
            # scikit-learn's `fetch_…` download.
            assert not [alias.name for alias in node.names if alias.name.startswith("fetch_")]
            assert node.module != "random"
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("np.random."):
            assert ast.unparse(node.func) == "np.random.default_rng"
            assert node.args, "a generator without a seed"


@pytest.mark.slow
@pytest.mark.skipif("DECAF_GALLERY_BUILT" in os.environ, reason="the documentation runs them")
@every_example
def test_it_runs_and_shows_figures(path, printed):
    text, figures = printed(path)
    assert text.strip()
    assert figures == path.read_text(encoding="utf-8").count("plt.show()")


@pytest.mark.slow
def test_a_second_run_prints_the_same(printed):
    path = GALLERY / "heads" / "plot_groups.py"
    first, _ = printed(path)
    assert printed(path)[0] == first
