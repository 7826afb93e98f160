"""`decaf visualize`: pictures and pages, and what a newcomer does wrong, through the command."""

from __future__ import annotations

import json
import os
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

import decaf
import systems
from decaf.backbone.weights.load import save_weights
from decaf.cli.main import main
from decaf.errors import OutputError, SettingError
from decaf.exploration.patches_picture import (
    GAP,
    LABEL,
    TILE,
    activation_text,
    heat_picture,
    magnified,
)
from network_fixtures import make_image


@pytest.fixture(scope="module")
def model(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_weights(path, weights)
    return str(path)


class Page(HTMLParser):
    """The elements of a page."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.text = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def test_without_images_the_filters_are_drawn(model, weights, tmp_path, capsys):
    out = tmp_path / "filters.png"
    assert main(["visualize", model, "-o", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: the 8 filters of conv1\n"
    with Image.open(out) as picture:
        assert np.array_equal(np.asarray(picture), decaf.filters_picture(weights))
        record = json.loads(picture.text["decaf"])
    assert record["weights"]["sha256"] == weights.sha256
    page = tmp_path / "filters.html"
    assert main(["visualize", model, "-o", str(page)]) == 0
    assert len(Page(page.read_text(encoding="utf-8")).all("img")) == 1


def test_the_picture_has_the_patches_in_their_places(model, folder, tmp_path, capsys):
    out = tmp_path / "units.png"
    arguments = ["visualize", model, "-o", str(out), str(folder), "--layer", "conv1", "-q"]
    assert main([*arguments, "--units", "3,5-6", "--top", "4"]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"{out}: patches of 28 images for 3 of 8 units of conv1\n")
    found = decaf.top_patches(folder, "conv1", units=[3, 5, 6], top=4, weights=model)
    cut = decaf.cut_patches(found)
    with Image.open(out) as picture:
        drawn = np.asarray(picture)
        record = json.loads(picture.text["decaf"])
    height = (drawn.shape[0] - GAP) // 3
    for row, own in enumerate(cut):
        for place, patch in enumerate(own):
            tile = np.asarray(magnified(patch.pixels))
            left, top = LABEL + place * (TILE + GAP), GAP + row * height
            assert np.array_equal(drawn[top : top + len(tile), left : left + tile.shape[1]], tile)
    assert [unit["unit"] for unit in record["units"]] == [3, 5, 6]
    assert record["units"] == json.loads(json.dumps(found.to_dict()["units"]))


@pytest.mark.parametrize("importance", ["occlusion", "gradient", "gradient-times-input"])
def test_the_page_has_the_patches_and_what_mattered(importance, model, folder, tmp_path, capsys):
    out = tmp_path / "units.html"
    arguments = ["visualize", model, str(folder), "-o", str(out), "-l", "conv2", "-q", "--json"]
    assert main([*arguments, "--units", "0,2", "--top", "3", "--importance", importance]) == 0
    result = json.loads(capsys.readouterr().out)
    page = Page(out.read_text(encoding="utf-8"))
    patches = [patch for unit in result["units"] for patch in unit["patches"]]
    pictures = page.all("img")
    assert len(pictures) == 2 * len(patches) == 12
    assert [each["title"] for each in pictures[::2]] == [patch["path"] for patch in patches]
    assert all(each["src"].startswith("data:image/") for each in pictures)
    for patch in patches:
        assert activation_text(patch["activation"]) in page.text
    assert all("http" not in value for _, each in page.elements for value in each.values() if value)


def test_names_are_harmless_in_the_page(model, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    names = ["<script>alert(1)<.png", '"onerror="x.png', "\x1b[31m\udcff.png", "=cmd.png"]
    names = [systems.possible_name(name) for name in names]
    for number, name in enumerate(names):
        Image.fromarray(make_image(number, 0)).save(folder / name)
    out = tmp_path / "units.html"
    assert main(["visualize", model, str(folder), "-o", str(out), "-l", "fc8", "-q"]) == 0
    page = Page(out.read_text(encoding="utf-8"))
    assert not page.all("script")
    assert all(set(each) <= {"src", "alt", "title", "loading", "class"} for each in page.all("img"))
    titles = {each["title"] for each in page.all("img")}
    for name in names[:2]:
        assert any(title.endswith(name) for title in titles)
    assert "\x1b" not in out.read_text(encoding="utf-8")


def test_silent_units_and_bad_images_are_told(weights, tmp_path, capsys):
    state = {name: tensor.clone() for name, tensor in weights.state.items()}
    state["conv1.bias"][1] = -1e4
    silent = decaf.backbone.weights.load.Weights.of(
        "silent", weights.spec, weights.preprocess, state
    )
    save_weights(tmp_path / "w.safetensors", silent)
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(make_image(number, 0)).save(folder / f"{number}.png")
    (folder / "bad.png").write_bytes(b"no image")
    out = str(tmp_path / "units.html")
    arguments = [str(tmp_path / "w.safetensors"), str(folder), "-o", out, "-l", "conv1", "-q"]
    assert main(["visualize", *arguments]) == 1
    told = capsys.readouterr().out
    assert "all 8 units of conv1" in told
    assert "1 unit silent in all images: 1\n" in told
    assert "1 image could not be read; the first is" in told
    with open(out, encoding="utf-8") as stream:
        text = " ".join(Page(stream.read()).text)
    assert "zero in all 3 images" in text
    assert "bad.png" in text
    picture = str(tmp_path / "units.png")
    assert main(["visualize", *arguments[:2], "-o", picture, "-l", "conv1", "-q"]) == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["-o", "x.gif"], "--out 'x.gif': cannot tell the format from the ending '.gif'"),
        (["-o", "no/x.png"], "there is no folder no"),
        (["-o", "x.png", "--units", "1"], "--units is for the patches of images: give SRC too"),
        (
            ["-o", "x.png", "--resize", "warp", "-b", "2"],
            "preprocessing (--resize …), --batch-size are for the patches of images: give SRC too",
        ),
        (["-o", "x.png", "--device", "cpu"], "--device is for the patches of images: give SRC too"),
        (["FOLDER", "-o", "x.png", "--units", "9-1"], "'9-1': 9-1 ends before it begins"),
        (["FOLDER", "-o", "x.png", "--units", "99"], "--units 99: conv5 of alexnet-64 has"),
        (["FOLDER", "-o", "x.png", "--units", "1-x"], "expected numbers such as 1,5,9-12, or all"),
        (["FOLDER", "-o", "x.png", "--layer", "conv6"], "'conv6' is no layer of alexnet-64"),
        (["FOLDER", "-o", "x.png", "--top", "0"], "--top 0: must be a whole number"),
        (["FOLDER", "-o", "x.png", "--top", "900", "--units", "all"], "a picture or page has at"),
        (["no/images", "-o", "x.png"], "no/images"),
    ],
)
def test_mistakes_are_told_in_one_line(
    arguments, text, model, folder, tmp_path, capsys, monkeypatch
):
    words = [str(folder) if word == "FOLDER" else word for word in arguments]
    monkeypatch.chdir(tmp_path)
    assert main(["visualize", model, *words, "-q"]) == 2
    assert text in capsys.readouterr().err
    assert not os.path.exists("x.png")


def test_what_is_no_network_is_told(folder, tmp_path, capsys):
    image = next(folder.glob("*/*.png"))
    assert main(["visualize", str(image), "-o", str(tmp_path / "x.png")]) == 2
    assert str(image) in capsys.readouterr().err


def test_nothing_else_is_replaced(model, folder, tmp_path):
    out = tmp_path / "x.png"
    decaf.visualize(model, out=out)
    before = out.read_bytes()
    with pytest.raises(OutputError, match="exists; give another `out`, or `overwrite=True`"):
        decaf.visualize(model, out=out)
    decaf.visualize(model, out=out, overwrite=True)
    assert out.read_bytes() == before
    text = tmp_path / "notes.png"
    text.write_text("my notes")
    with pytest.raises(OutputError, match="not an image"):
        decaf.visualize(model, out=text, overwrite=True)
    with pytest.raises(OutputError, match="is read by this run"):
        decaf.visualize(model, [out], out=out, overwrite=True)
    with pytest.raises(SettingError, match="`importance`"):
        decaf.visualize(model, folder, out=tmp_path / "y.png", importance="guided")


def test_heat_is_orange_for_and_blue_against():
    pixels = np.full((1, 3, 3), 100, np.uint8)
    heat = heat_picture(pixels, np.array([[4.0, -2.0, 0.0]]))[0].astype(int)
    assert heat[0, 0] > heat[0, 2] + 100  # red well above blue
    assert heat[1, 2] > heat[1, 0] + 20
    assert len(set(heat[2])) == 1
    assert (heat_picture(pixels, np.zeros((1, 3)))[0] == heat[2]).all()
