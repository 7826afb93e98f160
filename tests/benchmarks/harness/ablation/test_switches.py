"""The ablations: what each switch changes, what is drawn, trained, kept and reported."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import decaf
from decaf.backbone.spec import PoolSpec
from decaf.errors import InputError, SettingError
from decaf.train import Pack
from harness.ablation import make_report, switches
from harness.ablation.image_packs import drawn_pack
from harness.ablation.step_time import StepTime
from harness.ablation.switches import ALL, SWITCHES, SwitchSettings, Trained, train_switches
from harness.protocol.run import BenchmarkRun, ProtocolSettings
from report import report_json, report_text, write_report


def changed(key: str) -> tuple[Any, Any]:
    """Recipe and network without a part."""
    settings = SwitchSettings(Path("x"))
    recipe = settings.recipe(next(s for s in SWITCHES if s.key == key), 0)
    return recipe, recipe.spec(10)


def test_all_parts_are_those_of_the_paper() -> None:
    recipe = SwitchSettings(Path("x")).recipe(None, 5)
    spec = recipe.spec(10)
    assert (recipe.seed, recipe.crop, recipe.mirror, recipe.lighting) == (5, "random", True, 0.1)
    assert not recipe.batch_norm
    assert (spec.activation, spec.dropout, spec.pool) == ("relu", 0.5, PoolSpec(3, 2))
    assert [conv.groups for conv in spec.convs] == [1, 2, 1, 2, 2]
    assert spec.lrn is not None


def test_every_switch_takes_its_part_away_and_nothing_else() -> None:
    whole = SwitchSettings(Path("x")).recipe(None, 0).to_dict()
    for switch in SWITCHES:
        recipe, _ = changed(switch.key)
        differs = {name for name, value in recipe.to_dict().items() if value != whole[name]}
        assert differs == set(switch.changes), switch.key
    assert changed("lrn")[1].lrn is None
    assert changed("dropout")[1].dropout == 0
    assert changed("overlap")[1].pool == PoolSpec(2, 2)
    assert {conv.groups for conv in changed("towers")[1].convs} == {1}


def test_without_crops_training_and_test_see_the_whole_image() -> None:
    recipe, spec = changed("crop")
    assert (recipe.crop_area, recipe.crop_ratio) == ((1, 1), (1, 1))
    assert recipe.resize_to == spec.input_size


def test_seeds_draw_training_images_and_share_the_test(tmp_path: Path, photographs: Path) -> None:
    run = run_in(tmp_path)
    packs = [
        drawn_pack(run, photographs, 40, seed=seed, per_class=6, test_per_class=3)
        for seed in (0, 1)
    ]
    contents = []
    for pack in packs:
        with pack:
            assert list(Counter(pack.splits["train"].labels.tolist()).values()) == [6] * 4
            assert list(Counter(pack.splits["val"].labels.tolist()).values()) == [3] * 4
            contents.append(
                {
                    name: {row.tobytes() for row in split.content_sha256}
                    for name, split in pack.splits.items()
                }
            )
    assert contents[0]["train"] != contents[1]["train"]
    assert contents[0]["val"] == contents[1]["val"]
    assert not contents[0]["train"] & contents[0]["val"]


def test_images_to_test_on_are_needed(tmp_path: Path, photographs: Path, pack_path: Path) -> None:
    with pytest.raises(InputError, match="no folder val or test"):
        drawn_pack(run_in(tmp_path), photographs / "train", 40, seed=0, per_class=6,
                   test_per_class=3)  # fmt: skip
    with (
        drawn_pack(run_in(tmp_path), pack_path, 40, seed=0, per_class=6, test_per_class=3) as pack,
        Pack.open(pack_path) as same,
    ):
        assert pack.fingerprint == same.fingerprint  # a pack is taken as it is


def test_an_unknown_switch() -> None:
    with pytest.raises(SettingError, match="switches batch: there are lrn, overlap"):
        SwitchSettings(Path("x"), switches=("lrn", "batch"))


@pytest.mark.slow
def test_trains_through_the_front_door_and_keeps_every_run(
    tmp_path: Path, photographs: Path, tiny: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switches, "SIDE", 40)
    asked = []
    train = decaf.train_network

    def counted(pack: Any, out: Any, recipe: Any, **others: Any) -> Any:
        asked.append((recipe.lrn, recipe.dropout, recipe.seed))
        return train(pack, out, recipe, **others)

    monkeypatch.setattr(decaf, "train_network", counted)
    settings = SwitchSettings(
        photographs, seeds=2, epochs=3, batch_size=16, per_class=16, lr=0.002, precision="fp32",
        switches=("dropout", "lrn"), arch="tiny-2012",
    )  # fmt: skip
    result = train_switches(run_in(tmp_path), settings)
    assert asked == [
        (None, None, 0), (False, None, 0), (None, 0, 0),
        (None, None, 1), (False, None, 1), (None, 0, 1),
    ]  # fmt: skip
    assert list(result.runs) == [ALL, "lrn", "dropout"]
    for runs in result.runs.values():
        for one in runs:
            assert (one.images, one.test_images, one.classes) == (64, 21, 4)
            assert len(one.train_errors) == 3
            assert one.top5_error is None  # of four classes
            assert 0 <= one.top1_error <= 100
    assert not list((tmp_path / "cache").glob("ablation-*"))  # no run's folder is left

    again = train_switches(run_in(tmp_path), settings)
    assert len(asked) == 6
    assert again.runs == result.runs


def trained(
    top1: float, top5: float | None = None, errors: tuple[float, ...] = (80.0, 40.0)
) -> Any:
    return Trained(
        top1_error=top1, top5_error=top5, train_errors=errors, images=100, test_images=50,
        classes=10, seconds=2.0,
    )  # fmt: skip


def test_the_report_says_what_was_measured_beside_the_papers(tmp_path: Path) -> None:
    settings = SwitchSettings(Path("x"), switches=("lrn", "mirror"), seeds=3)
    runs = {
        ALL: tuple(trained(e, e / 10) for e in (40.0, 42.0, 41.0)),
        "lrn": tuple(trained(e, e / 10) for e in (41.0, 44.0, 44.0)),
        "mirror": tuple(trained(e, e / 10, (90.0, 60.0)) for e in (46.0, 48.0, 47.1)),
    }
    report = make_report(run_in(tmp_path), None, switches.Switches(settings, runs), None)
    text = report_text(report)
    # The differences 1, 2, 3: 2 +- t(0.975; 2) / sqrt(3) = 2 +- 4.303 * 0.577.
    assert "+2.0 (-0.5 to +4.5)" in text
    table = report.sections[0]
    lrn = next(row for row in table.rows if "normalisation" in row.name)
    assert lrn.cells[-2:] == ("1.4", "1.2")
    meaning = next(s.text for s in report.sections if s.title.startswith("What this says"))
    assert "leave out 0 for mirror; for lrn they hold it" in meaning
    assert "guessing 90.0 %" in meaning
    assert "No GPU was at hand" in report_json(report)
    assert report.headline == "top-1 error over 3 seeds: without mirroring +6.0 points"
    assert not report.notes
    mirror = report.sections[1].rows[2]
    assert mirror.cells[2].note == "3 of 3 runs did not come to 50 %"
    assert len(write_report(report, tmp_path / "out")) == 3


def test_one_seed_has_no_interval(tmp_path: Path) -> None:
    settings = SwitchSettings(Path("x"), switches=("lrn",), seeds=1)
    runs = {ALL: (trained(89.0),), "lrn": (trained(90.0),)}
    report = make_report(run_in(tmp_path), None, switches.Switches(settings, runs), None)
    assert "hardly better than guessing" in report.notes[0]
    assert "told apart from chance" in report.headline
    assert report.sections[0].rows[1].cells[2:4] == ("+1.0", "–")
    assert "no interval can be given" in report_json(report)


def test_a_gpu_stands_beside_the_cpu(tmp_path: Path) -> None:
    times = StepTime("GPU X", 0.02), StepTime("CPU Y", 1.5)
    settings = SwitchSettings(Path("x"), switches=("lrn",), seeds=1)
    runs = {ALL: (trained(40.0),), "lrn": (trained(41.0),)}
    report = make_report(run_in(tmp_path), None, switches.Switches(settings, runs), times)
    gpu, cpu = report.sections[-1].rows
    assert [cell.mean for cell in gpu.cells] == pytest.approx([20.0, 75.0])
    assert [cell.mean for cell in cpu.cells] == pytest.approx([1500.0, 1.0])


def run_in(folder: Path) -> BenchmarkRun[ProtocolSettings]:
    settings = ProtocolSettings(
        name="ablations", layers=(), cache=folder / "cache", device="cpu", workers=0
    )
    return BenchmarkRun(settings, folder / "out", progress=False)
