"""Boxes of COCO and of a detector as images of their own: rows, labels, hashes, and the files."""

from __future__ import annotations

import csv
import json
import logging
import marshal
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import decaf
from decaf.cli.main import main
from decaf.errors import ImageError, InputError, OutputError, SettingError
from decaf.features.store.dataframe import row_columns
from decaf.images import ImageRef, collect
from decaf.images.listing.annotated_boxes import read_boxes
from decaf.images.listing.box_crop import BoxCrop
from decaf.storage.unfinished import describe_images

NET = "random:0:alexnet-64"
WIDTH, HEIGHT = 80, 60


@pytest.fixture
def camera(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four photographs of two cameras."""
    monkeypatch.chdir(tmp_path)
    for place in ("north/1", "north/2", "south/1", "south/3"):
        path = tmp_path / "camera" / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)).save(path)
    return tmp_path / "camera"


def pixels(camera: Path, name: str) -> np.ndarray:
    return np.asarray(Image.open(camera / name))


def coco(tmp_path: Path, **changes: Any) -> str:
    """Write annotations of COCO's form, with one image that is not there."""
    names = ("north/1", "north/2", "south/1", "north/9")
    body: dict[str, Any] = {
        "images": [
            {"id": number, "file_name": f"{name}.png", "width": WIDTH, "height": HEIGHT}
            for number, name in enumerate(names)
        ],
        "annotations": [
            {"id": 11, "image_id": 1, "category_id": 7, "bbox": [10, 20, 30, 20]},
            {"id": 12, "image_id": 0, "category_id": 3, "bbox": [0, 0, 10.5, 10]},
            {"id": 13, "image_id": 1, "category_id": 3, "bbox": [70, 50, 30, 20]},
            {"id": 14, "image_id": 0, "category_id": 3, "bbox": [0, 0, 9, 9], "iscrowd": 1},
            {"id": 15, "image_id": 3, "category_id": 3, "bbox": [1, 1, 2, 2]},
            {"id": 16, "image_id": 2, "category_id": 7, "bbox": [5, 5, 20, 20]},
        ],
        "categories": [{"id": 3, "name": "owl"}, {"id": 7, "name": "fox"}],
        **changes,
    }
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(body))
    return str(path)


def detections(tmp_path: Path, *found: dict[str, Any], name: str = "north/2.png") -> str:
    """Write what MegaDetector writes."""
    body = {
        "info": {"detector": "md_v5a"},
        "detection_categories": {"1": "animal", "2": "person"},
        "images": [
            {"file": name, "detections": list(found)},
            {"file": "south/1.png", "detections": []},
            {"file": "south/3.png", "detections": None, "failure": "cannot be read"},
        ],
    }
    path = tmp_path / "md.json"
    path.write_text(json.dumps(body))
    return str(path)


def found(category: str, conf: float, *bbox: float) -> dict[str, Any]:
    return {"category": category, "conf": conf, "bbox": list(bbox)}


def test_annotations_of_coco(
    camera: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        images = collect("camera", crops_from=coco(tmp_path), margin=0.1)
    assert images.paths == [f"camera/{name}.png" for name in
                            ("north/1", "north/2", "north/2", "south/1")]  # fmt: skip
    assert images.class_names == ("fox", "owl")
    assert images.labels.tolist() == [1, 0, 1, 0]
    assert images.crops is not None
    assert [crop and crop.annotation for crop in images.crops] == ["12", "11", "13", "16"]
    # The boxes of one photograph show one scene.
    assert images.groups == ("", "camera/north/2.png", "camera/north/2.png", "")
    assert images.sources == (
        {"kind": "folder", "path": "camera", "images": 4, "boxes": f"{tmp_path}/coco.json"},
    )
    assert "1 of 4 images have no box and are left out, such as 'camera/south/3.png'" in caplog.text
    assert "1 images with boxes are none of those given, such as 'north/9.png'" in caplog.text
    assert "the boxes of an image are one group" in caplog.text
    for more, labels in (
        ({"labels": "none"}, [-1] * 4),
        ({"labels": ["a", "b", "c", "d"]}, [0, 1, 1, 2]),
    ):
        assert collect("camera", crops_from=f"{tmp_path}/coco.json", **more).labels.tolist() == (
            labels
        )
    grouped = collect("camera", crops_from=f"{tmp_path}/coco.json", groups="path:/(.)")
    assert grouped.groups == ("1", "2", "2", "1")
    divided = collect(
        "camera", crops_from=f"{tmp_path}/coco.json", splits=["train", "test", "train", ""]
    )
    assert divided.splits == ("train", "test", "test", "train")
    foxes = collect("camera", crops_from=f"{tmp_path}/coco.json", categories="fox")
    assert foxes.labels.tolist() == [0, 0]


def test_what_a_detector_has_found(
    camera: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = detections(
        tmp_path,
        found("1", 0.9, 0.25, 0.5, 0.5, 0.25),
        found("2", 0.8, 0, 0, 1, 1),
        found("1", 0.19, 0, 0, 0.5, 0.5),
    )
    images = collect("camera", crops_from=path)
    assert images.paths == ["camera/north/2.png"]
    assert (images.class_names[int(images.labels[0])], images.groups) == ("north", None)
    assert images.crops is not None
    assert images.crops[0] == BoxCrop(
        0.25, 0.5, 0.5, 0.25, relative=True, annotation="0", confidence=0.9
    )
    for words in (
        "1 of 3 boxes are left out as of other categories (1 of person)",
        "1 of 2 boxes have a confidence below 0.2",
        "3 of 4 images have no box",
    ):
        assert words in caplog.text
    assert len(collect("camera", crops_from=path, min_confidence=0)) == 2
    every = collect("camera", crops_from=path, min_confidence=0.1, categories=["animal", "person"])
    assert [crop and crop.confidence for crop in every.crops or ()] == [0.9, 0.8, 0.19]
    (boxes,) = [read_boxes(path).find("camera/north/2.png")]
    assert boxes is not None
    assert boxes.relative((WIDTH, HEIGHT))[0].tolist() == [0.25, 0.5, 0.75, 0.75]


@pytest.mark.parametrize("separator", ["/", "\\"])
def test_paths_of_another_machine(camera: Path, tmp_path: Path, separator: str) -> None:
    name = separator.join(("D:", "survey", "camera", "north", "2.png"))
    path = detections(tmp_path, found("1", 0.9, 0, 0, 1, 1), name=name)
    assert collect("camera", crops_from=path).paths == ["camera/north/2.png"]


def test_a_file_name_that_several_images_have_is_refused(camera: Path, tmp_path: Path) -> None:
    path = detections(tmp_path, found("1", 0.9, 0, 0, 1, 1), name="1.png")
    with pytest.raises(InputError, match=r"'1\.png' names 2 images; give their paths below"):
        collect("camera", crops_from=path)
    path = detections(tmp_path, found("1", 0.9, 0, 0, 1, 1), name="east/7.png")
    with pytest.raises(InputError, match=r"none of its 1 boxes is of one of the 4 images: .*'east/7"
                       r".png', the nearest image 'south/3"):  # fmt: skip
        collect("camera", crops_from=path)


def test_any_form_of_boxes_is_cut_out(camera: Path, tmp_path: Path) -> None:
    table = tmp_path / "boxes.csv"
    table.write_text("path,xmin,ymin,xmax,ymax,species\nsouth/1.png,5,5,24,24,fox\n")
    images = collect("camera", crops_from=table)
    assert images.crops is not None
    assert images.crops[0] is not None
    assert images.crops[0].edges(WIDTH, HEIGHT) == (5, 5, 25, 25)
    assert images.class_names == ("fox",)
    (tmp_path / "xml").mkdir()
    (tmp_path / "xml" / "3.xml").write_text(
        "<annotation><object><name>owl</name><bndbox><xmin>0</xmin><ymin>0</ymin><xmax>9</xmax>"
        "<ymax>4</ymax></bndbox></object></annotation>"
    )
    images = collect("camera", crops_from=tmp_path / "xml")
    assert (images.paths, images.class_names) == (["camera/south/3.png"], ("owl",))


def test_the_pixels_of_rows(camera: Path, tmp_path: Path) -> None:
    images = collect("camera", crops_from=coco(tmp_path), margin=0.1)
    first, second = pixels(camera, "north/1.png"), pixels(camera, "north/2.png")
    expected = [
        first[0:11, 0:12],  # half a pixel on is taken along; the rest lies outside
        second[18:42, 7:43],
        second[48:60, 67:80],
        pixels(camera, "south/1.png")[3:27, 3:27],
    ]
    rows = decaf.extract(images, weights=NET, workers=0)
    np.testing.assert_array_equal(rows, decaf.extract(expected, weights=NET))
    # In processes too, to which the boxes are sent.
    np.testing.assert_array_equal(decaf.extract(images, weights=NET, workers=1), rows)
    refs = images.refs or ()
    assert len({ref.digest(ref.load()) for ref in refs}) == 4
    assert len({entry[0] for entry in describe_images(images)}) == 4


boxes = st.floats(-300, 300)


@given(st.tuples(boxes, boxes, boxes, boxes), st.floats(0, 3), st.booleans())
def test_what_is_cut_out_is_within_the_image(
    box: tuple[float, float, float, float], margin: float, relative: bool
) -> None:
    crop = BoxCrop(*box, margin, relative, None if relative else (WIDTH, HEIGHT))
    assert BoxCrop.from_text(crop.text) == crop
    wire = marshal.loads(marshal.dumps(ImageRef(b"a.jpg", box=crop).to_wire()))
    assert ImageRef.from_wire(wire) == ImageRef(b"a.jpg", box=crop)
    x, y, across, down = crop.in_pixels(WIDTH, HEIGHT)
    inside = across > 0 < down and x < WIDTH and y < HEIGHT and x + across > 0 < y + down
    if not inside:
        with pytest.raises(ImageError) as caught:
            crop.edges(WIDTH, HEIGHT)
        assert caught.value.status == "bad_box"
        return
    left, top, right, bottom = crop.edges(WIDTH, HEIGHT)
    assert 0 <= left < right <= WIDTH
    assert 0 <= top < bottom <= HEIGHT


def test_a_box_that_does_not_fit_is_refused_by_its_row(camera: Path, tmp_path: Path) -> None:
    annotations = [
        {"id": number, "image_id": 0, "category_id": 3, "bbox": box}
        for number, box in enumerate([[1, 1, 5, 5], [90, 1, 5, 5], [1, 1, 0, 5], [-9, -9, 9, 9]])
    ]
    images = [{"id": 0, "file_name": "north/1.png", "width": WIDTH, "height": HEIGHT}]
    path = coco(tmp_path, annotations=annotations, images=images)
    with decaf.extract(
        collect("camera", crops_from=path), out="f.h5", weights=NET, on_error="record", workers=0
    ) as file:
        assert [file.status_names[code] for code in file.status] == ["ok", *["bad_box"] * 3]
        assert "width 0, height 5) is empty" in file.messages[2]
        for row in (1, 3):
            assert "lies outside of the 80 x 60 pixels of the image" in file.messages[row]
    images[0] |= {"width": HEIGHT, "height": WIDTH}
    path = coco(tmp_path, annotations=annotations, images=images)
    with pytest.raises(ImageError, match="drawn on an image of 60 x 80 pixels, and it has 80 x 60"):
        decaf.extract(collect("camera", crops_from=path), weights=NET, workers=0)


def test_the_file_keeps_the_boxes(camera: Path, tmp_path: Path) -> None:
    path = detections(
        tmp_path, found("1", 0.9, 0.25, 0.5, 0.5, 0.25), found("1", 0.3, 0.0, 0.0, 0.1, 0.1)
    )
    asked = {"out": "f.h5", "weights": NET, "workers": 0}
    images = collect("camera", crops_from=path, margin=0.1)
    with decaf.extract(images, **asked) as file:
        assert file.boxes is not None
        assert file.boxes.tolist() == [[20, 30, 40, 15], [0, 0, 8, 6]]
        assert file.confidences is not None
        assert file.confidences.tolist() == [0.9, 0.3]
        assert file.annotations == ("0", "1")
        assert file.crops == images.crops
        assert file.source_size.tolist() == [[WIDTH, HEIGHT]] * 2
        assert file.images().crops == images.crops
        assert row_columns(file)["box_width"].tolist() == [40, 8]
        rows = file["fc6"][:]
    checked = decaf.verify("f.h5")
    assert (checked.ok, checked.compared) == (True, 2)
    assert decaf.verify("f.h5", images=images).compared == 2
    # The same again is there; another margin is another file.
    decaf.extract(images, **asked).close()
    with pytest.raises(OutputError, match=r"differs from this run .*other boxes"):
        decaf.extract(collect("camera", crops_from=path, margin=0.2), **asked)
    decaf.export_features("f.h5", "f.csv")
    with open("f.csv", encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert [float(lines[0][f"box_{side}"]) for side in ("x", "y", "width", "height")] == [
        20, 30, 40, 15,
    ]  # fmt: skip
    assert (lines[1]["annotation"], lines[1]["confidence"]) == ("1", "0.3")
    decaf.export_features("f.h5", "f.npz")
    with np.load("f.npz") as arrays:
        assert arrays["box_height"].tolist() == [15, 6]
        assert arrays["annotation"].tolist() == ["0", "1"]
    Image.fromarray(255 - pixels(camera, "north/2.png")).save("camera/north/2.png")
    assert [reason for _, reason in decaf.verify("f.h5").unavailable] == [
        "the image has changed since"
    ] * 2
    np.testing.assert_array_equal(rows.shape, (2, 4096))


def test_boxes_in_an_archive_are_found_again(camera: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile("camera.zip", "w") as archive:
        for path in sorted(camera.rglob("*.png")):
            archive.write(path, path.relative_to(tmp_path))
    stacked = np.stack([pixels(camera, f"{name}.png") for name in ("north/1", "north/2")])
    np.save("stack.npy", stacked)
    images = collect("camera.zip", crops_from=coco(tmp_path))
    with decaf.extract(images, out="a.h5", weights=NET, workers=0) as file:
        rows = file["fc6"][:]
    assert decaf.verify("a.h5").compared == 4
    files = collect("camera", crops_from=f"{tmp_path}/coco.json")
    np.testing.assert_array_equal(rows, decaf.extract(files, weights=NET, workers=0))
    table = tmp_path / "boxes.csv"
    table.write_text("path,x0,y0,x1,y1\nstack.npy[1],5,5,24,24\nstack.npy[1],0,0,9,9\n")
    images = collect("stack.npy", crops_from=table)
    with decaf.extract(images, out="b.h5", weights=NET, workers=0) as file:
        np.testing.assert_array_equal(
            file["fc6"][0], decaf.extract([stacked[1, 5:25, 5:25]], weights=NET)[0]
        )
    assert decaf.verify("b.h5").compared == 2


@pytest.mark.slow
def test_a_classifier_of_boxes(
    camera: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    annotations = []
    for number in range(4):
        for place in range(6):  # each in a part of the image of its own
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": number,
                    "category_id": 3 + 4 * (place % 2),
                    "bbox": [12 * place, int(rng.integers(0, 30)), 12, 12 + place],
                }
            )
    images = [{"id": number, "file_name": name} for number, name in
              enumerate(("north/1.png", "north/2.png", "south/1.png", "south/3.png"))]  # fmt: skip
    path = coco(tmp_path, annotations=annotations, images=images)
    asked = ["--crops-from", path, "--margin", "0.1", "-j", "0", "-q"]
    fitted = decaf.fit("camera", crops_from=path, weights=NET, layer="fc6", C=1.0, workers=0)
    assert fitted.report.copies == 0  # parts of one image are no copies of it
    estimate = fitted.report.estimate
    assert estimate is not None
    assert estimate.images == 24
    assert main(["fit", "camera", "-o", "a.head", "-w", NET, "-l", "fc6", "-C", "1", *asked]) == 0
    assert "fox 12, owl 12" in capsys.readouterr().out
    assert main(["predict", "a.head", "camera", "-o", "a.csv", *asked]) == 0
    captured = capsys.readouterr()
    assert "24 images" in captured.out
    assert "margin" not in captured.err
    assert main(["predict", "a.head", "camera", "--crops-from", path, "-j", "0", "-q"]) == 0
    told = "a.head: was fitted to boxes with a margin of 0.1, these have 0; --margin says how much"
    assert told in capsys.readouterr().err
    with open("a.csv", encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert [line["path"] for line in lines[:6]] == ["camera/north/1.png"] * 6
    assert [float(line["box_x"]) for line in lines[:6]] == [0, 12, 24, 36, 48, 60]
    assert {line["class_1"] for line in lines} == {"fox", "owl"}
    assert main(["predict", "a.head", "camera", "-o", "a.json", *asked]) == 0
    first = json.loads(Path("a.json").read_text(encoding="utf-8"))[0]
    assert (first["annotation"], first["box"][2:]) == ("0", [12, 12])
    assert main(["predict", "a.head", "camera", "-o", "a.txt", *asked]) == 0
    assert Path("a.txt").read_text(encoding="utf-8").startswith("camera/north/1.png [0, ")
    with decaf.make_pack("camera", "a.pack", crops_from=path, split_val=0.3, size=16) as pack:
        train, val = (set(pack.splits[split].names) for split in ("train", "val"))
        assert train
        assert val
        assert not train & val  # the boxes of an image are on one side
        first = pack.images("train")
        assert first.content_sha256 is not None
        assert len({row.tobytes() for row in first.content_sha256}) == len(first)
    # Of the features in a file likewise.
    assert main(["extract", "camera", "-o", "f.h5", "-w", NET, *asked]) == 0
    assert main(["predict", "a.head", "f.h5", "-o", "b.csv", "-q"]) == 0
    with open("b.csv", encoding="utf-8", newline="") as stream:
        again = list(csv.DictReader(stream))
    told = ("path", "box_x", "box_width", "annotation", "confidence", "class_1")
    assert [[line[name] for name in told] for line in again] == [
        [line[name] for name in told] for line in lines
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"annotations": [{"id": 1, "image_id": 0, "bbox": [1, 2, 3]}]},
         r"annotation 1: its bbox is \[1, 2, 3\]; expected four numbers"),
        ({"annotations": [{"id": 1, "image_id": 99, "bbox": [1, 2, 3, 4]}]},
         "annotation 1: its image 99 is none of the 4 images"),
        ({"annotations": [{"id": 1, "image_id": 0, "category_id": 9, "bbox": [1, 2, 3, 4]}]},
         r"annotation 1: its category 9 is none of the 2 categories \(owl, fox\)"),
        ({"annotations": [{"id": 1, "bbox": [1, 2, 3, 4]}]}, "annotation 1: has no image_id"),
        ({"images": [{"id": 1}]}, "image 1: has no file_name"),
        ({"images": {}}, "has no list of images, but 'images', 'annotations', 'categories'; exp"),
        ({"annotations": None}, "its images have no detections, nor has it annotations"),
        ({"images": [{"file": "a.jpg", "detections": [{"bbox": [0, 0, 1, 1]}]}],
          "annotations": None}, "detection 0 of 'a.jpg': has no confidence `conf`"),
    ],
)  # fmt: skip
def test_what_is_no_annotation_is_refused(
    camera: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = coco(tmp_path, **change)
    with pytest.raises(InputError, match=message) as caught:
        collect("camera", crops_from=path)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_asked_for(camera: Path, tmp_path: Path, rng: np.random.Generator) -> None:
    path = coco(tmp_path)
    refusals: list[tuple[Callable[[], Any], type[Exception], str]] = [
        (lambda: collect("camera", margin=0.1), SettingError, "`margin` is of boxes: give"),
        (lambda: collect("camera", crops_from=path, margin=-1), SettingError, "`margin` -1: must"),
        (lambda: collect("camera", crops_from=path, min_confidence=2), SettingError, "from 0 to 1"),
        (lambda: collect("camera", crops_from=path, min_confidence=0.5), InputError,
         "the boxes of .* have no confidence"),
        (lambda: collect("camera", crops_from=path, categories=["elk"]), InputError,
         "`categories` 'elk': .* has .*fox"),
        (lambda: collect("camera", crops_from="gone.json"), InputError, "gone.json: cannot be"),
        (lambda: collect(np.zeros((2, 9, 9, 3), np.uint8), crops_from=path), InputError,
         "these are in memory"),
    ]  # fmt: skip
    for call, error, message in refusals:
        with pytest.raises(error, match=message):
            call()
    (tmp_path / "broken.json").write_text('{"images": [')
    with pytest.raises(InputError, match=r"broken\.json: is no JSON: "):
        collect("camera", crops_from="broken.json")
    crops = collect("camera", crops_from=path)
    with pytest.raises(SettingError, match="are parts of others already"):
        collect(crops, crops_from=path)
