"""The house keeps its order: imports go down, libraries stay in their rooms, names are listed."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import decaf

ROOT = Path(decaf.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

# A stage may import from the stages after it in this list, not from those before it or beside it.
STAGES = [
    {"cli"},
    {"describe"},
    {"explore", "evaluate", "train"},
    {"adapt"},  # the head on top of a method is one of decaf.heads
    {"heads"},
    {"features"},
    {"backbone"},
    {"images"},
    {"storage"},
    {"errors"},
]
LEVEL = {room: level for level, rooms in enumerate(STAGES) for room in rooms}

# Library → where it may be imported.
FRONTIERS = {
    # In images for arrays of images that others have put into HDF5 files.
    "h5py": {"features", "images", "storage", "train"},
    # In train for the estimator of fine-tuning, which scikit-learn's tools take.
    "sklearn": {"heads", "adapt", "evaluate", "train"},
}
NAMELESS = {"util", "utils", "helper", "helpers", "common", "misc", "tools", "base", "core"}


def name_of(path: Path) -> str:
    return ".".join(("decaf", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(
        ".__init__"
    )


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Give every module that a module imports, wherever in it, with the line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            assert node.module
            if node.module == "decaf":  # from decaf import images
                for alias in node.names:
                    yield f"decaf.{alias.name}", node.lineno
            else:
                yield node.module, node.lineno


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_down_only(path: Path) -> None:
    here = room_of(name_of(path))
    if here in ("", "__main__"):
        return  # the front door opens into every room
    assert here in LEVEL, f"{here} is not among the stages"
    for module, line in imports(path):
        there = room_of(module) if module.startswith("decaf.") else ""
        if there not in LEVEL or there == here:
            continue
        assert LEVEL[here] < LEVEL[there], f"{path}:{line}: {here} imports {module}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_libraries_keep_to_their_rooms(path: Path) -> None:
    here = room_of(name_of(path))
    for module, line in imports(path):
        rooms = FRONTIERS.get(module.partition(".")[0])
        assert rooms is None or here in rooms, f"{path}:{line}: {module} in {here}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_is_named_and_not_too_long(path: Path) -> None:
    assert path.stem not in NAMELESS
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 500


def defined_names(tree: ast.Module) -> set[str]:
    """Give the names that a module defines, or has from elsewhere in decaf to pass on."""
    names = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("decaf"):
            names |= {alias.name for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_all_lists_what_is_public(path: Path) -> None:
    """Every public function and class of a module is in its ``__all__``, and nothing else is."""
    if path.name == "__main__.py":
        return
    module = importlib.import_module(name_of(path))
    listed = module.__all__
    assert len(set(listed)) == len(listed)
    for name in listed:
        assert hasattr(module, name), f"{name_of(path)}.__all__ lists {name!r}, which is not there"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    public = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
    }
    assert public <= set(listed), f"not listed: {sorted(public - set(listed))}"
    if path.name != "__init__.py":
        foreign = set(listed) - defined_names(tree)
        assert not foreign, f"listed, but defined elsewhere: {sorted(foreign)}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_what_is_public_says_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{path}: no docstring"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path}:{node.lineno}: {node.name} has no docstring"


def test_every_folder_is_a_package() -> None:
    found = {module.name for module in pkgutil.walk_packages([str(ROOT)], "decaf.")}
    assert {name_of(path) for path in MODULES} - {"decaf"} == found


def test_tests_mirror_the_house() -> None:
    rooms = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()}
    tested = {path.name for path in Path(__file__).parent.iterdir() if path.is_dir()}
    beside = {"benchmarks", "examples"}
    assert {name for name in tested if not name.startswith("_")} <= rooms | beside
