"""A page from its template: escaped, asking for nothing, and written whole or not at all."""

from __future__ import annotations

import base64
import configparser
import fnmatch
import hashlib
from pathlib import Path

import pytest
from jinja2 import UndefinedError

import decaf
from decaf.errors import OutputError
from decaf.exploration.page import STYLE_SHEETS, page_environment, render_page, write_page

PAGE = """{% extends "base.html" %}{% block title %}{{ name }}{% endblock %}
{% block main %}<p title="{{ name }}">{{ name }}</p>{% endblock %}"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "own.html").write_text(PAGE)
    return tmp_path


def test_names_are_escaped_and_printable(folder: Path) -> None:
    html = render_page("own.html", {"name": '"><script>alert(1)</script>\x1b[31m\n\u202e'}, folder)
    assert "<script" not in html
    assert html.count(r"\x1b[31m\n\u202e") == 3
    assert "&#34;&gt;&lt;script&gt;" in html


def test_a_page_asks_for_nothing_and_runs_its_own_scripts_alone(folder: Path) -> None:
    plain = render_page("own.html", {"name": "a"}, folder)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'\"" in plain
    with_script = render_page("own.html", {"name": "a", "scripts": ["explore.js"]}, folder)
    source = (STYLE_SHEETS / "explore.js").read_bytes()
    assert b"</script" not in source.lower()
    digest = base64.b64encode(hashlib.sha256(source).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in with_script.replace("&#39;", "'")
    assert with_script.count("<script>") == 1


def test_what_a_template_names_and_is_not_given_is_an_error(folder: Path) -> None:
    with pytest.raises(UndefinedError):
        render_page("own.html", {}, folder)
    assert page_environment(folder).get_template("base.html").render().startswith("<!DOCTYPE html>")


def test_a_page_replaces_a_page_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "p.html"
    for name in ("one", "two"):
        written = render_page("own.html", {"name": name}, folder)
        write_page(page, written)
    assert page.read_text(encoding="utf-8") == written
    (tmp_path / "other.html").write_text("<!DOCTYPE html>\n<p>of another program")
    with pytest.raises(OutputError, match="not a page of decaf's"):
        write_page(tmp_path / "other.html", written)
    (tmp_path / "mine.html").write_text("# notes of mine")
    for name in ("mine.html", "."):
        with pytest.raises(OutputError):
            write_page(tmp_path / name, "<!DOCTYPE html>")
    assert (tmp_path / "mine.html").read_text(encoding="utf-8") == "# notes of mine"


def test_the_wheel_has_every_template() -> None:
    root = Path(decaf.__file__).parents[1]
    config = configparser.ConfigParser()
    config.read(root / "setup.cfg")
    (pattern,) = config["options.package_data"]["decaf.exploration.page"].split()
    files = [path.relative_to(STYLE_SHEETS.parent).as_posix() for path in STYLE_SHEETS.iterdir()]
    assert len(files) >= 6
    assert all(fnmatch.fnmatch(name, pattern) for name in files)
