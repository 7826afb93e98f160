"""Builds of decaf: the version is that of the git tag, and the same commit gives the same bytes.

Everything else about the distribution stands in setup.cfg.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

ROOT = Path(__file__).resolve().parent
VERSION_FILE = Path("decaf", "version.py")
VERSION = re.compile(r'(?<=^__version__ = ")[^"]+', re.MULTILINE)
TAG = re.compile(r"v(\d+\.\d+\.\d+((a|b|rc)\d+)?)")
# The earliest day that a wheel, which is a ZIP file, can name.
EARLIEST = 315_532_800


def git(*arguments: str) -> str:
    """Return what git prints of this tree; nothing where it is no checkout, or git is not there."""
    if not (ROOT / ".git").exists():  # the tree may lie in a checkout of something else
        return ""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def tree_version() -> str:
    """Return the version of an unchanged checkout's tag, else the one that the tree carries.

    In an sdist that is the tag's too: `Sdist` has written it.
    """
    described = git("describe", "--tags", "--exact-match", "--dirty", "--match", "v[0-9]*")
    tag = TAG.fullmatch(described)
    if tag is not None:
        return tag[1]
    carried = VERSION.search((ROOT / VERSION_FILE).read_text(encoding="utf-8"))
    assert carried is not None
    return carried[0]


def tree_time() -> int:
    """Return the time in seconds that the files of a build carry.

    It is ``SOURCE_DATE_EPOCH`` where that is set, else the commit's; in an sdist the one that its
    files have.
    """
    given = os.environ.get("SOURCE_DATE_EPOCH") or git("log", "-1", "--format=%ct")
    if given:
        return max(int(given), EARLIEST)
    metadata = ROOT / "PKG-INFO"
    return max(int(metadata.stat().st_mtime), EARLIEST) if metadata.exists() else EARLIEST


def write_version(folder: str) -> None:
    """Write the version into the copy of the version's module in a folder."""
    path = Path(folder, VERSION_FILE)
    text = path.read_text(encoding="utf-8")
    path.unlink()  # it may be a hard link to the module in the tree
    path.write_text(VERSION.sub(tree_version(), text), encoding="utf-8")


class BuildPy(build_py):
    """The package, with its version, and with modes that do not depend on who builds it."""

    def run(self) -> None:
        """Build, then set the version and the modes."""
        super().run()
        if self.editable_mode:
            return
        write_version(self.build_lib)
        for path in self.get_outputs(include_bytecode=False):
            os.chmod(path, 0o644)


class BdistWheel(bdist_wheel):
    """The wheel, with modes of its metadata that do not depend on who builds it."""

    def write_wheelfile(self, *arguments: Any, **keywords: Any) -> None:
        """Write the last file of the metadata, then set the modes of all."""
        super().write_wheelfile(*arguments, **keywords)
        metadata = Path(arguments[0] if arguments else keywords["wheelfile_base"])
        for path in metadata.rglob("*"):
            if path.is_file():
                path.chmod(0o644)


class Sdist(sdist):
    """The source distribution, with its version, and with nothing in it of who built it when."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        """Copy the files, and set the version."""
        super().make_release_tree(base_dir, files)
        write_version(base_dir)

    def make_archive(
        self,
        base_name: str,
        format: str,
        root_dir: str | None = None,
        base_dir: str | None = None,
        owner: str | None = None,
        group: str | None = None,
    ) -> str:
        """Write the tree as a .tar.gz whose bytes depend on names and contents alone."""
        assert format == "gztar"
        assert base_dir is not None
        tree = Path(root_dir or "", base_dir)
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for path in sorted(tree.rglob("*")):
                if path.is_file():
                    member = tarfile.TarInfo(f"{base_dir}/{path.relative_to(tree).as_posix()}")
                    member.size, member.mtime = path.stat().st_size, tree_time()
                    member.mode = 0o755 if os.access(path, os.X_OK) else 0o644
                    with path.open("rb") as file:
                        archive.addfile(member, file)
        out = Path(f"{base_name}.tar.gz")
        out.write_bytes(gzip.compress(content.getvalue(), mtime=tree_time()))
        return str(out)


os.environ["SOURCE_DATE_EPOCH"] = str(tree_time())  # which bdist_wheel reads
setup(
    version=tree_version(),
    cmdclass={"build_py": BuildPy, "bdist_wheel": BdistWheel, "sdist": Sdist},
)
