"""The examples as a user runs them, on photographs that the test draws."""

from __future__ import annotations

import re
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NUMBER = re.compile(r"\d+\.\d+|\d+%")
CLASSES = {"blue": (40, 60, 200), "green": (50, 190, 60), "red": (200, 50, 40)}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Threads that wait for one another's tiny pieces are slow on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Three folders of eight small images, told apart by colour."""
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for name, colour in CLASSES.items():
        (folder / name).mkdir()
        for number in range(8):
            noise = generator.normal(0, 30, (64, 80, 3))
            pixels = np.clip(noise + colour, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture
def example(monkeypatch, capsys):
    """Run an example, and give the lines that it prints."""

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out.splitlines()

    return run


@pytest.mark.slow
def test_extract_prints_shapes_and_origin(photos, example):
    lines = example("extract.py", photos)
    assert lines[:2] == ["24 images, 24 readable", "classes: blue, green, red"]
    shapes = [re.fullmatch(r"(\w+): X \((\d+), (\d+)\) float32, \d+% .* active", x) for x in lines]
    assert [match.groups() for match in shapes if match] == [
        ("pool5", "24", "9216"),
        ("fc6", "24", "4096"),
        ("fc7", "24", "4096"),
    ]
    assert lines[5:] == [
        "first row: blue/0.png, blue",
        "made with imagenet-distilled, crops center",
    ]


@pytest.mark.slow
def test_a_damaged_image_is_recorded(photos, tmp_path, example):
    (tmp_path / "blue").mkdir()
    (tmp_path / "blue" / "0.png").write_bytes((photos / "blue" / "0.png").read_bytes())
    (tmp_path / "blue" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert example("extract.py", tmp_path)[0] == "2 images, 1 readable"


@pytest.mark.slow
def test_fit_and_predict_names_new_images(photos, example):
    lines = example("fit_and_predict.py", photos)
    assert lines[0] == "fitted to 21 images of 3 classes"
    result = re.fullmatch(
        r"accuracy on unseen images: (\S+)% \(95 % interval (\S+)% to (\S+)%; guessing: 33.3%\)",
        lines[1],
    )
    accuracy, low, high = map(float, result.groups())
    assert 33.3 < low < accuracy <= high  # three plain colours are easy
    answers = [line.partition(" (")[0] for line in lines[2:]]
    assert answers == [f"{name}/0.png: {name}" for name in CLASSES]


@pytest.mark.slow
def test_search_similar_finds_images_of_the_class(photos, example):
    lines = example("search_similar.py", photos)
    assert lines[0] == "nearest to blue/0.png among 24 images:"
    result = [
        re.fullmatch(r"  ([01]\.\d{3})  (\w+)/(\d)\.png", line).groups() for line in lines[1:6]
    ]
    assert {name for _, name, _ in result} == {"blue"}
    assert "0" not in {number for _, _, number in result}  # not itself
    cosines = [float(cosine) for cosine, _, _ in result]
    assert sorted(cosines, reverse=True) == cosines
    assert lines[6].endswith("(by chance 30%)")  # 7 of 23 others
    assert int(re.match(r"(\d+)%", lines[6])[1]) > 60
    # An image from elsewhere: only its own class is near.
    lines = example("search_similar.py", photos, photos / "red" / "3.png")
    assert lines[0] == "nearest to red/3.png among 24 images:"
    assert all("  red/" in line for line in lines[1:6])


@pytest.mark.slow
def test_fine_tune_compares_with_the_frozen_head(photos, example):
    lines = example("fine_tune.py", photos, 1)
    assert re.fullmatch(r"3 classes, \d+ training images", lines[0])
    for line, name in zip(lines[1:3], ("frozen", "fine-tuned"), strict=True):
        right, images = map(
            int, re.fullmatch(rf"{name}: (\d+) of (\d+) val.* images", line).groups()
        )
        assert images / 3 < right <= images
    assert "the frozen head on validation: use the " in lines[3]
    assert [line.partition(": ")[0] for line in lines[4:]] == ["blue/0.png"] * 2
    assert lines[4].startswith("blue/0.png: blue (")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Ray's own
def test_ray_rows_says_which_two_are_nearest(photos, tmp_path, example, monkeypatch):
    pytest.importorskip("ray")
    pytest.importorskip("pandas")  # which ray.data needs
    monkeypatch.setenv("RAY_worker_niceness", "0")
    folder = shutil.copytree(photos, tmp_path / "photos")
    shutil.copy(folder / "red" / "3.png", folder / "red" / "copy.png")
    (folder / "red" / "notes.txt").write_text("no image")
    lines = example("ray_rows.py", folder)
    assert lines == [
        "26 images, 25 readable",
        "nearest: red/3.png and red/copy.png, cosine 1.000",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["extract.py", "fit_and_predict.py", "search_similar.py"])
def test_the_documentation_shows_what_is_printed(name, shared_data, example):
    page = (EXAMPLES.parent / "docs/howto/examples.md").read_text(encoding="utf-8")
    shown = page.partition(f"python examples/{name} ")[2].split("```")[2]
    printed = example(name, shared_data / "pacs-mini" / "photo")
    # Another machine rounds otherwise, and a row on the border goes the other way.
    assert [NUMBER.sub("#", line) for line in printed] == [
        NUMBER.sub("#", line) for line in shown.strip().splitlines()
    ]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_is_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 60
