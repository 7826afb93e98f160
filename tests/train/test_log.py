"""The CSV, the events and the picture of a run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from decaf.errors import OutputError
from decaf.train.log import COLUMNS, Log, draw_curves, read_log


def training(step: int, loss: float = 1.5) -> dict[str, float]:
    return {"step": step, "epoch": step / 4, "lr": 0.1, "train_loss": loss, "seconds": 1.0}


def validation(step: int) -> dict[str, float]:
    return {"step": step, "epoch": step / 4, "val_loss": 2.0, "val_top1_error": 75.0}


def test_rows_are_read_back(tmp_path: Path) -> None:
    with Log(tmp_path, 0, False) as log:
        log.add(training(2, 1.23456789))
        log.add(validation(2))
    assert read_log(tmp_path / "log.csv") == [training(2, 1.23457), validation(2)]
    assert (tmp_path / "log.csv").read_text(encoding="utf-8").splitlines() == [
        ",".join(COLUMNS),
        "2,0.5,0.1,1.23457,,,,,,1",
        "2,0.5,,,,2,75,,,",
    ]


def test_what_is_about_to_be_made_again_is_dropped(tmp_path: Path) -> None:
    with Log(tmp_path, 0, False) as log:
        for step in (2, 4, 6):
            log.add(training(step))
    with open(tmp_path / "log.csv", "a", encoding="utf-8") as file:
        file.write("8,2.0,0.1,1.")  # torn by a kill
    before = (tmp_path / "log.csv").read_text(encoding="utf-8").splitlines()
    with Log(tmp_path, 4, False) as log:
        assert (tmp_path / "log.csv").read_text(encoding="utf-8").splitlines() == before[:3]
        log.add(training(6, 0.5))
    assert [row["step"] for row in read_log(tmp_path / "log.csv")] == [2, 4, 6]


def test_no_log_is_an_empty_one(tmp_path: Path) -> None:
    assert read_log(tmp_path / "log.csv") == []
    (tmp_path / "log.csv").write_text("a,b\n1,2\n")
    assert read_log(tmp_path / "log.csv") == []


def test_a_disk_that_refuses_is_told(tmp_path: Path) -> None:
    with Log(tmp_path, 0, False) as log:
        (tmp_path / "log.csv").unlink()
        with pytest.raises(
            OutputError, match=r"log\.csv: cannot be written: .*checkpoints are kept"
        ):
            log.add(training(1))


def test_a_row_of_which_the_disk_takes_a_part_first_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    with Log(tmp_path, 0, False) as log:
        monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[: len(data) // 2]))
        log.add(training(2))
        log.add(training(4))
    assert [row["step"] for row in read_log(tmp_path / "log.csv")] == [2, 4]


@pytest.mark.posix("limits")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_events_that_the_disk_refuses_are_told_in_a_line(tmp_path: Path) -> None:
    """By no thread of TensorBoard's, whose traceback would be a warning here."""
    pytest.importorskip("tensorboard")
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Log(tmp_path, 0, True) as log:
        log.add(training(1))
        resource.setrlimit(resource.RLIMIT_FSIZE, (350, before[1]))
        try:
            with pytest.raises(OutputError, match=r"tfevents.*File too large; checkpoints are"):
                log.add(training(2))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_events_are_tensorboards(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with Log(tmp_path, 0, True) as log:
        for step in (2, 4, 6):
            log.add(training(step, step))
        log.add(validation(4))
    with Log(tmp_path, 4, None) as log:
        log.add(training(6, 9.0))
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    losses = [(event.step, event.value) for event in events.Scalars("training/train_loss")]
    assert losses == [(2, 2), (4, 4), (6, 9)]
    assert events.Scalars("validation/val_top1_error")[0].value == 75


@pytest.mark.slow
def test_curves_are_drawn_of_whatever_there_is(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from PIL import Image

    out = tmp_path / "curves.png"
    sizes = []
    for step in range(3):
        with Log(tmp_path, 0, False) as log:
            for i in range(step * 10):
                log.add(training(i + 1))
                if step > 1:
                    log.add(validation(i + 1))
        draw_curves(tmp_path / "log.csv", out)
        with Image.open(out) as image:
            image.load()
            sizes.append(image.size)
            colours = len(image.convert("RGB").getcolors(1 << 20) or ())
        (tmp_path / "log.csv").unlink()
    assert len(set(sizes)) == 1
    assert colours > 100
