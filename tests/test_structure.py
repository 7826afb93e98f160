"""The house keeps its order: imports go down, libraries stay in their rooms, names are listed."""

from __future__ import annotations

import ast
import graphlib
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import decaf

ROOT = Path(decaf.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

# A room may import from the rooms after it in this list, not from those before it or beside it.
STAGES = [
    {"cli"},
    {"description", "installation"},
    {"exploration", "scale"},  # whose pages show what is evaluated, too
    {"evaluate", "finetuning"},
    {"train", "classify"},
    {"adapt"},  # the head on top of a method is one of decaf.heads
    {"heads"},
    {"features"},
    {"backbone"},
    {"storage"},
    {"images"},
    {"runtime"},
    {"errors", "lazy", "version"},
]
LEVEL = {room: level for level, rooms in enumerate(STAGES) for room in rooms}

# Library → where it may be imported.
FRONTIERS = {
    # In images for arrays of images that others have put into HDF5 files.
    "h5py": {"features", "images", "storage", "train"},
    # In finetuning for its estimator, which scikit-learn's tools take; in exploration for maps.
    "sklearn": {
        "heads",
        "adapt",
        "classify",
        "evaluate",
        "exploration",
        "features",
        "finetuning",
    },
    # What differs between systems.
    "fcntl": {"storage"},
    "filelock": {"storage"},
    "psutil": {"runtime"},
    "resource": {"runtime"},
}
# Nowhere: `decaf.runtime.children` starts processes, whatever forks here.
UNKNOWN_TO_WINDOWS = {"grp", "posix", "pty", "pwd", "termios", "tty"}
MOST_PARAMETERS = 12
CONTRACT = ("decaf.features.extract", "extract")  # the design writes its parameters out
NAMELESS = {"util", "utils", "helper", "helpers", "common", "misc", "tools", "base", "core"}


def name_of(path: Path) -> str:
    return ".".join(("decaf", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(
        ".__init__"
    )


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


TREES = {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in MODULES}


def imports(module: str, *, at_once: bool = False) -> Iterator[tuple[str, int]]:
    """Yield every module that a module imports, with the line.

    With `at_once`, only those that it needs to be imported itself: what functions import later
    and what only type checkers read is left out.
    """
    nodes: list[ast.AST] = [TREES[module]]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: a relative import"
            assert node.module
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield (inner if inner in TREES else node.module), node.lineno
        elif at_once and (
            isinstance(node, ast.FunctionDef)
            or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        ):
            continue
        nodes += ast.iter_child_nodes(node)


def public(tree: ast.Module) -> list[ast.FunctionDef | ast.ClassDef]:
    return [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not any(ast.unparse(each) == "overload" for each in node.decorator_list)
    ]


def test_imports_go_down_only() -> None:
    wrong = []
    for module in TREES:
        here = room_of(module)
        if here in ("", "__main__"):
            continue  # the front door opens into every room
        for imported, line in imports(module):
            there = room_of(imported) if imported.startswith("decaf.") else here
            if there != here and LEVEL[here] >= LEVEL[there]:
                wrong.append(f"{module}:{line}: imports {imported}")
    assert not wrong, "\n".join(wrong)


def test_names_of_files_are_decoded_in_one_place() -> None:
    """Which bears names from other systems, as `os.fsdecode` does not on Windows."""
    wrong = [
        f"{module}:{node.lineno}"
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "os.fsdecode"
    ]
    assert {place.partition(":")[0] for place in wrong} == {"decaf.runtime.names"}, wrong


def test_nothing_asks_for_modules_that_windows_has_not() -> None:
    for module in TREES:
        wrong = UNKNOWN_TO_WINDOWS.intersection(name for name, _ in imports(module))
        assert not wrong, f"{module}: imports {wrong}"


def test_the_command_line_goes_to_the_doors_of_rooms() -> None:
    """The modules of `runtime`, which has no door, and the names of weights are at hand as well."""
    wrong = [
        f"{module}:{line}: imports {imported}"
        for module in TREES
        if room_of(module) == "cli"
        for imported, line in imports(module)
        if imported.count(".") > 1
        and room_of(imported) not in ("cli", "runtime")
        and imported != "decaf.backbone.weights"
    ]
    assert not wrong, "\n".join(wrong)


def test_modules_do_not_import_in_circles() -> None:
    graph = {
        module: {name for name, _ in imports(module, at_once=True) if name in TREES}
        for module in TREES
    }
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the modules


def test_libraries_keep_to_their_rooms() -> None:
    wrong = [
        f"{module}:{line}: imports {imported}"
        for module in TREES
        for imported, line in imports(module)
        if room_of(module) not in FRONTIERS.get(imported.partition(".")[0], {room_of(module)})
    ]
    assert not wrong, "\n".join(wrong)


def test_modules_are_named_and_not_too_long() -> None:
    assert not [path for path in MODULES if path.stem in NAMELESS]
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert not {path: length for path, length in lengths.items() if length > 500}


def test_all_lists_what_is_public() -> None:
    """Every public function and class of a module is in its ``__all__``, and nothing else is."""
    wrong = []
    for name, tree in TREES.items():
        if name == "decaf.__main__":
            continue
        module = importlib.import_module(name)
        listed = set(module.__all__)
        assert len(listed) == len(module.__all__)
        wrong += [f"{name} lists {each}: not there" for each in listed if not hasattr(module, each)]
        wrong += [f"{name} does not list {n.name}" for n in public(tree) if n.name not in listed]
        if not hasattr(module, "__path__"):
            wrong += [f"{name} lists {n}: not of it" for n in listed - defined_names(tree)]
    assert not wrong, "\n".join(wrong)


def defined_names(tree: ast.Module) -> set[str]:
    """Return the names that a module defines, or has from elsewhere in decaf to pass on."""
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


def test_what_is_public_says_what_it_is() -> None:
    wrong = [name for name, tree in TREES.items() if not ast.get_docstring(tree)]
    for name, tree in TREES.items():
        wrong += [f"{name}.{n.name}" for n in public(tree) if not ast.get_docstring(n)]
    assert not wrong, "no docstring: " + ", ".join(wrong)


def test_functions_have_few_parameters() -> None:
    """More than a reader keeps in mind are settings: an object, made once and passed whole."""
    wrong = []
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef) or (name, node.name) == CONTRACT:
                continue
            given = node.args
            count = sum(map(len, (given.posonlyargs, given.args, given.kwonlyargs)))
            count += (given.vararg is not None) + (given.kwarg is not None)
            count -= [each.arg for each in given.args[:1]] in (["self"], ["cls"])
            if count > MOST_PARAMETERS:
                wrong.append(f"{name}:{node.lineno}: {node.name} has {count} parameters")
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
def test_messages_of_the_library_name_arguments_not_flags() -> None:
    """A message says `out` or `overwrite=True`; the command line makes flags of that.

    Whole commands, such as `decaf train --resume`, may be quoted.
    """
    wrong = []
    for name, tree in TREES.items():
        if room_of(name) == "cli":
            continue
        docstrings = {
            node.body[0].value
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node)
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
                continue
            said = re.sub("`decaf [^`]*`", "", node.value)
            if node not in docstrings and re.search(r"(?<![\w-])--[a-z]", said):
                wrong.append(f"{name}:{node.lineno}: {said}")
    assert not wrong, "\n".join(wrong)


def test_errors_name_arguments_in_backticks() -> None:
    """The command line finds them by these, and a reader sees what to change."""
    functions = [
        node
        for tree in TREES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    ]
    # Of one word they may stand for themselves: "the weights", "no images".
    names = {
        argument.arg
        for function in functions
        for argument in (*function.args.args, *function.args.kwonlyargs)
        if "_" in argument.arg.strip("_")
    }
    errors = ("SettingError", "InputError", "OutputError")
    wrong = []
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)):
                continue
            if room_of(module) == "cli" or ast.unparse(node.exc.func) not in errors:
                continue
            for text in ast.walk(node.exc):
                if isinstance(text, ast.Constant) and isinstance(text.value, str):
                    bare = re.sub('`[^`]*`|"[^"]*"', "", text.value)
                    if names & set(re.findall(r"\w+", bare)):
                        wrong.append(f"{module}:{text.lineno}: {text.value}")
    assert not wrong, "\n".join(wrong)


def test_tests_mirror_the_house() -> None:
    assert set(TREES) - {"decaf"} == {
        module.name for module in pkgutil.walk_packages([str(ROOT)], "decaf.")
    }
    rooms = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()}
    tested = {path.name for path in Path(__file__).parent.iterdir() if path.is_dir()}
    beside = {"benchmarks", "docs", "examples", "support"}
    assert {name for name in tested if not name.startswith("_")} <= rooms | beside
