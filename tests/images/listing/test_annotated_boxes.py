"""Annotations of boxes in the forms of ILSVRC, Tiny-ImageNet, WSOL metadata and tables."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from decaf.errors import InputError
from decaf.images.listing.annotated_boxes import read_boxes

XML = """<annotation><folder>n01440764</folder><filename>n01440764_18</filename>
<size><width>{0}</width><height>{1}</height><depth>3</depth></size>
<object><name>n01440764</name><bndbox><xmin>10</xmin><ymin>20</ymin><xmax>29</xmax><ymax>59</ymax>
</bndbox></object>
<object><name>n01440764</name><bndbox><xmin>0</xmin><ymin>0</ymin><xmax>99</xmax><ymax>79</ymax>
</bndbox></object></annotation>"""


def test_xml_of_ilsvrc_is_read_from_folders_of_classes(tmp_path: Path) -> None:
    (tmp_path / "n01440764").mkdir()
    (tmp_path / "n01440764" / "n01440764_18.xml").write_text(XML.format(100, 80))
    boxes = read_boxes(tmp_path).find("/data/train/n01440764/n01440764_18.JPEG")
    assert boxes is not None
    assert boxes.boxes.tolist() == [[10, 20, 30, 60], [0, 0, 100, 80]]
    assert boxes.size == (100, 80)
    assert boxes.labels == ("n01440764", "n01440764")


def test_boxes_of_an_image_that_was_warped_since_are_scaled_on_each_axis(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(XML.format(100, 80))
    boxes = read_boxes(tmp_path).find("a.jpg")
    assert boxes is not None
    # The image has 224 pixels a side now: its annotation tells what the shares are of.
    assert boxes.relative((224, 224))[0] == pytest.approx([0.1, 0.25, 0.3, 0.75])


def test_tiny_imagenet_is_read_from_both_splits(tmp_path: Path) -> None:
    for split in ("train/n1", "val"):
        (tmp_path / split).mkdir(parents=True)
    (tmp_path / "train/n1/n1_boxes.txt").write_text("n1_0.JPEG\t0\t10\t63\t58\n")
    (tmp_path / "val/val_annotations.txt").write_text("val_7.JPEG\tn1\t52\t55\t57\t59\n")
    found = read_boxes(tmp_path)
    train, val = found.find("train/n1/images/n1_0.JPEG"), found.find("val/images/val_7.JPEG")
    assert train is not None
    assert val is not None
    assert train.boxes.tolist() == [[0, 10, 64, 59]]
    assert train.size == (64, 64)
    assert val.boxes.tolist() == [[52, 55, 58, 60]]
    assert val.labels == ("n1",)


def test_wsol_metadata_takes_the_sizes_beside_it(tmp_path: Path) -> None:
    (tmp_path / "localization.txt").write_text("val/a.JPEG,1,2,10,20\nval/a.JPEG,0,0,4,4\n")
    (tmp_path / "image_sizes.txt").write_text("val/a.JPEG,500,375\n")
    boxes = read_boxes(tmp_path).find("elsewhere/a.JPEG")
    assert boxes is not None
    assert boxes.size == (500, 375)
    assert boxes.boxes.tolist() == [[1, 2, 11, 21], [0, 0, 5, 5]]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_names_its_columns(tmp_path: Path, separator: str) -> None:
    rows = ["Image,XMin,YMin,XMax,YMax,Width,Height,Species", "ants/a.jpg,1,2,3,4,10,20,ant"]
    table = tmp_path / "boxes.csv"
    table.write_text("\n".join(rows).replace(",", separator))
    boxes = read_boxes(table).find("ants/a.jpg")
    assert boxes is not None
    assert (boxes.boxes.tolist(), boxes.size, boxes.labels) == ([[1, 2, 4, 5]], (10, 20), ("ant",))


def test_boxes_of_another_folder_are_not_taken_by_a_file_name(tmp_path: Path) -> None:
    table = tmp_path / "boxes.csv"
    table.write_text("path,x0,y0,x1,y1\nset/ants/1.jpg,0,0,1,1\nset/hens/2.jpg,0,0,2,2\n")
    found = read_boxes(table)
    assert found.find("photographs/bees/2.jpg") is None
    # The folder that all of them share may be called otherwise.
    hen = found.find("photographs/hens/2.jpg")
    assert hen is not None
    assert hen.boxes.tolist() == [[0, 0, 3, 3]]


def test_one_base_name_in_two_folders_needs_the_folder(tmp_path: Path) -> None:
    table = tmp_path / "boxes.csv"
    table.write_text("path,x0,y0,x1,y1\na/1.jpg,0,0,1,1\nb/1.jpg,0,0,2,2\n")
    found = read_boxes(table)
    in_b = found.find("photographs/b/1.jpg")
    assert in_b is not None
    assert in_b.boxes.tolist() == [[0, 0, 3, 3]]
    assert found.find("c/1.jpg") is None


def test_boxes_with_nothing_inside_are_left_out_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = tmp_path / "boxes.csv"
    rows = ["a.jpg,5,5,4,9,10,10", "b.jpg,10,0,12,9,10,10", "c.jpg,-3,-3,4,20,10,10"]
    table.write_text("\n".join(["path,x0,y0,x1,y1,width,height", *rows]))
    with caplog.at_level(logging.WARNING):
        found = read_boxes(table)
    assert "2 of 3 boxes are empty or outside their image" in caplog.text
    assert found.find("a.jpg") is None
    assert found.find("b.jpg") is None
    inside = found.find("c.jpg")
    assert inside is not None
    assert inside.relative((1, 1)) == pytest.approx(np.array([[0, 0, 0.5, 1]]))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.xml", "<annotation><object/></annotation>", "an object has no bndbox"),
        ("a.xml", "<annotation>", "no annotation in the form of PASCAL VOC"),
        ("a.xml", "<!DOCTYPE x><annotation/>", "with a DOCTYPE"),
        ("n1_boxes.txt", "a.JPEG\t1\t2\t3\n", "line 1: 4 columns"),
        ("localization.txt", "a.JPEG,1,2,3,x\n", "line 1: the sides of a box must be four numbers"),
        ("boxes.csv", "path,label\na.jpg,ant\n", "must name the columns path, x0, y0, x1, y1"),
        ("boxes.csv", "path,x0,y0,x1,y1\na.jpg,1,2,nan,4\n", "a side of a box is not finite"),
        ("boxes.csv", "path,x0,y0,x1,y1,width,height\na.jpg,0,0,1,1,9,9\na.jpg,0,0,1,1,9,8\n",
         "disagree on its size"),
    ],
)  # fmt: skip
def test_what_is_no_annotation_is_refused(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_boxes(tmp_path / name)


def test_a_folder_without_boxes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no boxes are there"):
        read_boxes(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        read_boxes(tmp_path / "absent.csv")
