"""Builds: the version is the tag's, and the same commit gives the same bytes, whoever builds it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# What a build reads, besides the package; of the package, as much as shows what becomes of it.
FILES = ["LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.cfg", "setup.py"]
PACKAGE = ["__init__.py", "cli/__init__.py", "cli/main.py", "lazy.py", "py.typed", "version.py"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (ROOT / "setup.py").exists() or int(version("setuptools").partition(".")[0]) < 77,
        reason="needs the tree that decaf is built of, and setuptools 77",
    ),
]

BUILD = """
import os, sys
from setuptools import build_meta
os.umask(int(sys.argv[2], 8))
print(build_meta.build_sdist(sys.argv[1]) if sys.argv[3] == "sdist"
      else build_meta.build_wheel(sys.argv[1]))
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small tree of decaf's, which is no checkout."""
    tree = tmp_path / "tree"
    for name in [*FILES, *(f"decaf/{name}" for name in PACKAGE)]:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tree / name)
    return tree


def build(tree: Path, kind: str, out: str = "dist", umask: str = "022", **env: str) -> Path:
    folder = tree.parent / out
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BUILD, folder, umask, kind],
        cwd=tree,
        env={**os.environ, **env},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    shutil.rmtree(tree / "build", ignore_errors=True)
    return folder / done.stdout.split()[-1]


def carried() -> str:
    """Return the version that the tree carries."""
    names: dict[str, str] = {}
    exec((ROOT / "decaf/version.py").read_text(encoding="utf-8"), names)
    return names["__version__"]


def git(tree: Path, *arguments: str) -> None:
    if shutil.which("git") is None:
        pytest.skip("needs git")
    identity = ["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=tree, check=True, capture_output=True)


def commit(tree: Path) -> None:
    git(tree, "init", "-q")
    (tree / ".gitignore").write_text("*.egg-info/\n")
    git(tree, "add", ".")
    git(tree, "commit", "-qm", "all", "--date", "2026-01-02T03:04:05Z")


def written_version(archive: Path) -> str:
    """Return what decaf.version of an archive says, which its name has to have as well."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            text = wheel.read("decaf/version.py").decode()
    else:
        with tarfile.open(archive) as sdist:
            (name,) = (name for name in sdist.getnames() if name.endswith("decaf/version.py"))
            member = sdist.extractfile(name)
            assert member is not None
            text = member.read().decode()
    names: dict[str, str] = {}
    exec(text, names)
    assert f"-{names['__version__']}" in archive.name
    return names["__version__"]


def test_the_version_is_the_tag_s(tree: Path) -> None:
    commit(tree)
    git(tree, "tag", "v7.8.9rc1")
    sdist, wheel = build(tree, "sdist"), build(tree, "wheel")
    assert written_version(sdist) == written_version(wheel) == "7.8.9rc1"
    assert "7.8.9" not in (tree / "decaf/version.py").read_text(encoding="utf-8")

    # An sdist carries it on, and its wheel is the same.
    with tarfile.open(sdist) as archive:
        archive.extractall(tree.parent, filter="data")
    again = build(tree.parent / sdist.name.removesuffix(".tar.gz"), "wheel", out="again")
    assert again.name == wheel.name
    assert again.read_bytes() == wheel.read_bytes()


def test_without_a_tag_of_this_very_tree_it_is_the_one_in_the_tree(tree: Path) -> None:
    assert written_version(build(tree, "wheel")) == carried()
    commit(tree)
    git(tree, "tag", "other")
    assert written_version(build(tree, "wheel")) == carried()
    git(tree, "tag", "v1.0.0")
    (tree / "README.md").write_text("changed")
    assert written_version(build(tree, "wheel")) == carried()


@pytest.mark.parametrize("kind", ["sdist", "wheel"])
def test_the_same_commit_gives_the_same_bytes(tree: Path, kind: str) -> None:
    commit(tree)
    first = build(tree, kind)
    for path in tree.rglob("*"):
        if path.is_file() and ".git" not in path.parts:
            os.utime(path, (1, 2_000_000_000))
            path.chmod(0o600)
    second = build(tree, kind, out="second", umask="077", TZ="Asia/Tokyo")
    assert first.read_bytes() == second.read_bytes()
    other_day = build(tree, kind, out="third", SOURCE_DATE_EPOCH="1700000000")
    assert other_day.read_bytes() != first.read_bytes()


def test_everything_of_the_package_is_in_the_wheel(tree: Path) -> None:
    with zipfile.ZipFile(build(tree, "wheel")) as wheel:
        names = set(wheel.namelist())
    assert names >= {f"decaf/{name}" for name in PACKAGE}
