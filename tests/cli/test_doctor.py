"""``decaf doctor``: a block of text, or JSON, and 1 where the self-test fails."""

from __future__ import annotations

import json

import pytest

import decaf
from decaf.cli.main import main
from decaf.features.self_test import ImageResult, SelfTest

GOOD = ImageResult("PNG", pixels=True, difference=1e-5)


@pytest.fixture
def self_test(monkeypatch):
    """Set what the self-test finds."""

    def set_to(found: SelfTest) -> None:
        monkeypatch.setattr("decaf.installation.self_test", lambda *, device: found)

    return set_to


def test_what_works(self_test, capsys) -> None:
    self_test(SelfTest((GOOD, GOOD)))
    assert main(["doctor", "--device", "cpu"]) == 0
    facts = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert facts["decaf"].startswith(f"{decaf.__version__} in ")
    assert facts["self-test"] == "ok: 2 images, largest difference 1e-05"


def test_what_does_not_is_named_and_ends_with_1(self_test, capsys) -> None:
    self_test(SelfTest((GOOD, ImageResult("JPEG", pixels=False, difference=0.02))))
    assert main(["doctor"]) == 1
    assert [line.split() for line in capsys.readouterr().out.splitlines()[-2:]] == [
        ["self-test", "FAILED:", "2", "images,", "largest", "difference", "0.02"],
        ["JPEG", "pixels", "NOT", "those", "expected,", "difference", "0.02"],
    ]
    self_test(SelfTest(error="torch is not there"))
    assert main(["doctor"]) == 1
    assert "FAILED: torch is not there" in capsys.readouterr().out


@pytest.mark.parametrize("home", ["/", "", None, "/usr"])
def test_a_home_that_is_none_changes_no_path(
    home: str | None, self_test, capsys, monkeypatch
) -> None:
    self_test(SelfTest((GOOD,)))
    monkeypatch.delenv("HOME", raising=False)
    if home is not None:
        monkeypatch.setenv("HOME", home)
    monkeypatch.setattr("pwd.getpwuid", lambda _uid: {}[0])  # a user without a name
    folder = str(decaf.check_installation().folder)
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    short = folder.replace("/usr/", "~/") if home == "/usr" else folder
    assert f"decaf                       {decaf.__version__} in {short}\n" in text
    assert "~~" not in text


def test_json(self_test, capsys) -> None:
    self_test(SelfTest((GOOD,)))
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is True
    assert found["self_test"]["images"] == [{"name": "PNG", "pixels": True, "difference": 1e-5}]
