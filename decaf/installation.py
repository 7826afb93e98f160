"""What a report of a fault says of an installation, and whether it works: `check_installation`."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from decaf.features.self_test import SelfTest, self_test
from decaf.version import __version__

__all__ = ["Installation", "check_installation"]

# Named first, and also where decaf is run from a tree, without metadata that names what it needs.
_LIBRARIES = ("torch", "torchvision", "numpy", "pillow", "h5py")
_DISTRIBUTION = "decaf-features"
_REQUIRED = re.compile(r"([\w.-]+)(?:.*\bextra\s*==\s*['\"]([\w.-]+)['\"])?")
_OF_SYSTEM = re.compile(r"\bsys_platform\s*([!=]=)\s*['\"](\w+)['\"]")
# Extras for work on decaf itself.
_FOR_DEVELOPERS = ("test", "dev", "docs")


@dataclass(frozen=True)
class Installation:
    """What there is of decaf and of what it is built on, and whether it works.

    Parameters
    ----------
    decaf : str
        Its version.
    folder : str
        Where its package lies.
    versions : mapping of str to str or None
        Python and the libraries; None for one that is not installed.
    machine : mapping
        As of `decaf.runtime.machine.describe_machine`; or ``error``, where torch cannot be loaded.
    extras : mapping of str to mapping
        Extra → its libraries with their versions, None where absent. Empty where decaf is run from
        a tree and not installed.
    weights : mapping of str to mapping
        Name → ``sha256`` of the weights, and ``path`` of a file that is not decaf's own; ``error``
        for those that cannot be used, which is no fault of ``imagenet``, torchvision's, before
        they are first asked for.
    folders : mapping of str to mapping
        Use of a folder → its ``path``, whether it is ``writable``, and bytes ``free``.
    self_test : SelfTest
        Ten images, from file to features.
    apple_test : SelfTest or None
        The same on Apple's GPU, which says nothing about whether decaf works; None where there is
        none.
    """

    decaf: str
    folder: str
    versions: Mapping[str, str | None]
    machine: Mapping[str, Any]
    extras: Mapping[str, Mapping[str, str | None]]
    weights: Mapping[str, Mapping[str, str]]
    folders: Mapping[str, Mapping[str, Any]]
    self_test: SelfTest
    apple_test: SelfTest | None = None

    @property
    def ok(self) -> bool:
        """Whether the self-test gave what is expected."""
        return self.self_test.ok

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        plain = asdict(self)
        plain["self_test"]["ok"] = plain["ok"] = self.ok
        return plain


def check_installation(*, device: str = "auto") -> Installation:
    """Look at what decaf is installed on, and try it with ten generated images.

    Parameters
    ----------
    device : str
        Where the network of the self-test is computed, as of `decaf.extract`.

    Returns
    -------
    Installation
        What is broken is told in it, and raises nothing: ``ok`` says whether decaf works.
    """
    required, machine = _required(), _or_error(_machine)
    needed = dict.fromkeys([*_LIBRARIES, *required.pop("", [])])
    return Installation(
        decaf=__version__,
        folder=str(Path(__file__).parent),
        versions={"python": platform.python_version(), **{n: _version(n) for n in needed}},
        machine=machine,
        extras={
            extra: {name: _version(name) for name in names}
            for extra, names in required.items()
            if extra not in _FOR_DEVELOPERS
        },
        weights={
            "imagenet-distilled": _or_error(_packaged_weights),
            "imagenet": _or_error(_torchvision_weights),
        },
        folders=_folders(),
        self_test=self_test(device=device),
        apple_test=self_test(device="mps") if machine.get("apple_gpu") else None,
    )


def _or_error(look: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what a function does, or the reason why it cannot."""
    try:
        return look()
    # Libraries that do not fit each other fail with anything.
    except Exception as error:
        return {"error": " ".join(str(error).split()) or type(error).__name__}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _required() -> dict[str, list[str]]:
    """Return the libraries of each extra, and under "" those that are always needed."""
    try:
        lines = importlib.metadata.requires(_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    required: dict[str, list[str]] = {}
    for line in lines:
        system = _OF_SYSTEM.search(line)
        if system and (system[2] == sys.platform) != (system[1] == "=="):
            continue  # of another system
        if match := _REQUIRED.match(line):
            required.setdefault(match[2] or "", []).append(match[1])
    return required


def _machine() -> dict[str, Any]:
    from decaf.runtime.machine import describe_machine

    return describe_machine()


def _packaged_weights() -> dict[str, Any]:
    from decaf.backbone.weights import DEFAULT_WEIGHTS
    from decaf.backbone.weights.load import load_weights

    return {"sha256": load_weights(DEFAULT_WEIGHTS).sha256}


def _torchvision_weights() -> dict[str, Any]:
    from decaf.backbone.weights.torchvision_file import imagenet_path, imagenet_weights

    path = imagenet_path()
    if not path.is_file():
        return {"error": f"not downloaded; would be {path}"}
    return {"sha256": imagenet_weights().sha256, "path": str(path)}


def _folders() -> dict[str, dict[str, Any]]:
    folders = {"temporary files": Path(tempfile.gettempdir())}
    try:
        from decaf.backbone.weights.torchvision_file import imagenet_path
    except Exception:  # torch cannot be loaded, which the machine's entry tells
        pass
    else:
        folders["downloaded weights"] = imagenet_path().parent
    return {use: _folder(path) for use, path in folders.items()}


def _folder(path: Path) -> dict[str, Any]:
    """Try to write a file into a folder, or into the one that it would be made in."""
    place = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"decaf")
        writable = True
    except OSError:
        writable = False
    return {"path": str(path), "writable": writable, "free": shutil.disk_usage(place).free}
