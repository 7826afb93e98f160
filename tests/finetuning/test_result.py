"""The result of a fine-tuning, and which network it says to use."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from decaf.backbone.weights.load import Weights
from decaf.errors import OutputError
from decaf.finetuning.card import card_text, check_card_path
from decaf.finetuning.keep_rule import Accuracy
from decaf.finetuning.result import Finetuned
from decaf.finetuning.settings import FinetuneSettings


@pytest.fixture
def result(begun: Weights) -> Finetuned:
    provenance = {"from": {"name": "tiny", "sha256": "0" * 64}, "pack": "1" * 64, "device": "cpu",
                  "start": "new", "decaf_version": "0.1", "torch_version": "2.15"}  # fmt: skip
    return Finetuned(
        path=Path("out/m.safetensors"),
        card=Path("out/m.md"),
        folder=Path("out/m.finetune"),
        weights=replace(begun, provenance=provenance, name="m.safetensors"),
        tuned=Accuracy(90, 100, 0.4),
        frozen=Accuracy(80, 100, 0.5),
        better=True,
        p_value=0.01,
        is_start=False,
        passed_over=None,
        best_epoch=3.0,
        epochs=4.0,
        seconds=60.0,
        batch_size=16,
        classes=[("a|b", 30, 60), ("c", 20, 40)],
        bad=[("train", b"\xff.jpg", "truncated", "cut short")],
        history=[],
    )


START = {"better": False, "tuned": Accuracy(80, 100, 0.5), "is_start": True}


MORE = "fine-tuning named more of 100 validation images rightly than the frozen head"
LOSS = "but its calibrated loss is not clearly lower"
CHANCE = "so that the difference may be chance: use the frozen head"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "fine-tuning beat the frozen head on validation: use the fine-tuned network"),
        ({"p_value": 0.3}, "images alone, of 100, the difference may be chance (p = 0.30)"),
        (
            {"p_value": 0.3, "tuned": Accuracy(90, 100, 0.4, 12.5)},
            "counted in groups alone, the difference may be chance (p = 0.30)",
        ),
        (
            {"better": False, "tuned": Accuracy(80, 100, 0.5)},
            "use the frozen head, which is as good and simpler",
        ),
        (
            {"better": False, "tuned": Accuracy(70, 100, 0.6)},
            "on validation: use the frozen head; the network written is the fine-tuned one",
        ),
        (
            {"better": False, "tuned": Accuracy(90, 100, 0.6)},
            (
                f"{MORE} (90 against 80), {LOSS} (0.600 against 0.500), "
                f"{CHANCE}; the network written is the fine-tuned one"
            ),
        ),
        (START, "not beat the frozen head on validation: use the frozen head, which the network"),
        (
            {**START, "passed_over": Accuracy(82, 100, 0.7)},
            (
                f"{MORE} (82 against 80), {LOSS} (0.700 against 0.500), "
                f"{CHANCE}, which the network written is (the frozen layers, with the head as"
            ),
        ),
    ],
)
def test_the_verdict_says_which_to_use(
    result: Finetuned, changes: dict[str, Any], message: str
) -> None:
    found = replace(result, **changes)
    assert message in found.verdict
    card = card_text(found, FinetuneSettings().training(50, "fp32"))
    assert message[1:] in card
    tuned = found.passed_over or found.tuned
    name = "fine-tuned, not kept" if found.passed_over else "fine-tuned"
    for title, each in (("frozen fc7 + head", found.frozen), (name, tuned)):
        interval = " to ".join(f"{end:.1f}" for end in each.interval)
        row = f"| {title} | {each.percent:.1f} | {interval} | {each.calibrated_loss:.3f} |"
        assert row in card


def test_intervals_by_groups_are_said_to_be(result: Finetuned) -> None:
    settings = FinetuneSettings().training(50, "fp32")
    assert "interval (Wilson), and" in card_text(result, settings)
    grouped = replace(result, frozen=Accuracy(80, 100, 0.5, 12.5))
    assert "interval (Wilson, by groups), and" in card_text(grouped, settings)


@pytest.mark.parametrize("passed_over", [None, Accuracy(82, 100, 0.7)])
def test_a_result_comes_back_from_json(result: Finetuned, passed_over: Accuracy | None) -> None:
    result = replace(result, passed_over=passed_over)
    again = Finetuned.from_dict(json.loads(json.dumps(result.to_dict())), result.weights, [])
    assert again.to_dict() == result.to_dict()
    assert again.passed_over == passed_over


def test_names_are_no_markup(result: Finetuned) -> None:
    card = card_text(result, FinetuneSettings().training(50, "fp32"))
    assert "| a\\|b | 30 | 60 |" in card
    assert "50 for training, 100 for validation" in card


def test_the_card_lists_the_settings_that_were_used(result: Finetuned) -> None:
    card = card_text(result, FinetuneSettings().training(50, "fp32"))
    table = card.partition("## Settings")[2]
    assert "| start | new |" in table
    assert "| lr | 0.0001 |" in table
    for name in ("freeze", "momentum", "lr_factor", "preset"):
        assert f"| {name} |" not in table
    assert "| momentum | 0.9 |" in card_text(
        result, FinetuneSettings(optimizer="sgd").training(50, "fp32")
    )
    assert f"| SHA-256 of the tensors | `{result.weights.sha256}` |" in card


@pytest.mark.parametrize(
    ("text", "is_card"),
    [
        ("", False),
        ("# Notes\n\n: a fine-tuned network\n", False),
        ("# m: a fine-tuned network\n\nmore", True),
    ],
)
def test_what_is_no_card_is_not_replaced(tmp_path: Path, text: str, is_card: bool) -> None:
    path = tmp_path / "m.md"
    check_card_path(path)
    path.write_text(text)
    if is_card:
        check_card_path(path)
        return
    with pytest.raises(OutputError, match=r"m\.md: exists and is no card of decaf, so it is not"):
        check_card_path(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(OutputError, match=r"m\.md: is needed for the card and is a folder"):
        check_card_path(path)
