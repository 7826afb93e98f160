from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import systems
from decaf.errors import InputError
from decaf.images import collect
from decaf.images.listing.labels import labels_from_file, labels_from_sequence
from decaf.images.listing.names import common_folder


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("cat/1.jpg", "cat/2.jpg", "dog/2.jpg"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"x")
    return tmp_path


def read(tree: Path, content: bytes) -> tuple[list[int], tuple[str, ...]]:
    (tree / "labels").write_bytes(content)
    images = collect(tree / "in", labels=tree / "labels")
    assert images.labels.dtype == np.int64
    return images.labels.tolist(), images.class_names


AB = ("a", "b, c")
SEVEN = b"""id;date;path;site;species;sex;note
7;may;1.jpg;A;fox;m;
8;may;cat/2.jpg;B;owl;f;x
9;june;dog/2.jpg;A;fox;;y
"""
NEAREST = (
    "no row names an image; read as 3 rows of 2 columns separated by semicolons, UTF-8; the first "
    "row is 'path', 'label'. A path in it is 'cat/11.jpg', the nearest image 'cat/1.jpg': name"
)


@pytest.mark.parametrize(
    ("content", "labels", "class_names"),
    [
        (b"4\n0\n-1\n", [4, 0, -1], ()),
        (b"b\r\na\r\nb", [1, 0, 1], ("a", "b")),
        (b"\xef\xbb\xbfb\n\na\nb\n", [1, 0, 1], ("a", "b")),
        (b"red fox\nx,y\n7\n", [1, 2, 0], ("7", "red fox", "x,y")),
        (b"caf\xe9\n\xc3\xa9\nz\n", [0, 2, 1], ("café", "z", "é")),
        (b"1.jpg,5\ncat/2.jpg,6\ndog/2.jpg,7\n", [5, 6, 7], ()),
        (b"dog/2.jpg\tb, c\n1.jpg\ta\ncat/2.jpg\ta\n", [0, 0, 1], ("a", "b, c")),
        (b"path,label\n1.jpg,5\ncat/2.jpg,6\ndog/2.jpg,7\n", [5, 6, 7], ()),
        (b'"path","label"\n"1.jpg","b, c"\n"cat/2.jpg","a"\n"dog/2.jpg","a"\n', [1, 0, 0], AB),
        (b'\xef\xbb\xbf"1.jpg",5\r\n"cat/2.jpg",6\r\n"dog/2.jpg",7\r\n', [5, 6, 7], ()),
        (b'"1.jpg"\t"a"\n"cat/2.jpg"\t"b, c"\n"dog/2.jpg"\t"a"\n', [0, 1, 0], AB),
        (b'"","path","y"\n"1","1.jpg",5\n"2","cat/2.jpg",6\n"3","dog/2.jpg",7\n', [5, 6, 7], ()),
        (b",path,y\n0,1.jpg,5\n1,cat/2.jpg,6\n2,dog/2.jpg,7\n", [5, 6, 7], ()),
        (b'"b, c"\n"a"\n"a"\n', [1, 0, 0], AB),
        (b"other.jpg,1\n1.jpg,5\ncat/2.jpg,6\ndog/2.jpg,7\n", [5, 6, 7], ()),
        (b"1.jpg;5\ncat/2.jpg;6\ndog/2.jpg;7\n", [5, 6, 7], ()),
        (b'path;y\n1.jpg;"a"\ncat/2.jpg;"b, c"\ndog/2.jpg;a\n', [0, 1, 0], AB),
        (b"cat\\1.jpg,5\ncat\\2.jpg,6\n.\\dog\\2.jpg,7\n", [5, 6, 7], ()),
        (b"D:\\in\\cat\\1.jpg\t5\nD:\\in\\cat\\2.jpg\t6\nD:\\in\\dog\\2.jpg\t7\n", [5, 6, 7], ()),
        (
            "1.jpg,caf\u00e9\r\ncat/2.jpg,z\r\ndog/2.jpg,z".encode("utf-16"),
            [0, 1, 1],
            ("café", "z"),
        ),
        (SEVEN, [0, 1, 0], ("fox", "owl")),
        (SEVEN.replace(b";", b"|"), [0, 1, 0], ("fox", "owl")),
    ],
)
def test_labels_of_files_are_read(
    tree: Path, content: bytes, labels: list[int], class_names: tuple[str, ...]
) -> None:
    assert read(tree, content) == (labels, class_names)


def test_names_with_what_csv_gives_a_meaning(tmp_path: Path) -> None:
    names = [b'"q".jpg', b"a,b.jpg", b"latin-\xe9.jpg", b"new\nline.jpg", b'say "x".jpg']
    if systems.WINDOWS:  # has no such names but one
        names = [b"#a.jpg", b"a,b.jpg", b"a;b.jpg", b"it's.jpg", b"'x' y.jpg"]
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes(b"x")
    quoted = [b'"%s",%d' % (name.replace(b'"', b'""'), i) for i, name in enumerate(names)]
    (tmp_path / "labels").write_bytes(b"\n".join(quoted))
    images = collect(sorted(tmp_path.glob("*.jpg")), labels=tmp_path / "labels")
    assert sorted(images.labels.tolist()) == [0, 1, 2, 3, 4]
    assert [names[i] for i in images.labels] == [os.path.basename(n) for n in images.names]
    (tmp_path / os.fsdecode(names[3])).unlink()  # a line break can only be quoted
    plain = [b"%s,%d" % (name, i) for i, name in enumerate(names) if i != 3]
    (tmp_path / "labels").write_bytes(b"\n".join(plain))
    images = collect(sorted(tmp_path.glob("*.jpg")), labels=tmp_path / "labels")
    assert [names[i] for i in images.labels] == [os.path.basename(n) for n in images.names]


def test_paths_as_given_come_before_those_below(tree: Path) -> None:
    (tree / "in" / "in").mkdir()
    (tree / "in" / "in" / "1.jpg").write_bytes(b"x")
    (tree / "in" / "1.jpg").write_bytes(b"x")
    (tree / "labels").write_bytes(b"in/1.jpg,1\nin/in/1.jpg,2\ncat/1.jpg,3\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tree)
        images = collect("in", labels="labels")
    assert images.relative == [b"1.jpg", b"cat/1.jpg", b"cat/2.jpg", b"dog/2.jpg", b"in/1.jpg"]
    assert images.labels.tolist() == [1, 3, -1, -1, 2]


def test_a_path_of_another_folder_names_no_image(
    tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tree / "in" / "owl").mkdir()
    (tree / "in" / "owl" / "7.jpg").write_bytes(b"x")
    table = b"cat/1.jpg,A\ncat/2.jpg,A\ndog/2.jpg,B\nhen/7.jpg,Q\n"
    assert read(tree, table) == ([0, 0, 1, -1], ("A", "B"))
    assert "1 of 4 images have no label" in caplog.text
    assert (
        "1 of its rows name no image, such as 'hen/7.jpg', the nearest image 'owl/7.jpg'"
        in caplog.text
    )
    assert read(tree, table.replace(b"hen/7.jpg", b"7.jpg"))[0] == [0, 0, 1, 2]
    # As groups are read, and where the first row is none of a header.
    (tree / "groups.csv").write_bytes(b"hen/7.jpg,Q\n" + table)
    assert collect(tree / "in", groups=tree / "groups.csv").groups == ("A", "A", "B", "")
    # All rows have folders that the images have not.
    with pytest.raises(InputError, match="no row names an image"):
        read(tree, b"a/7.jpg,A\na/1.jpg,B\n")


def test_rows_that_name_no_image_are_told_where_all_images_have_a_label(
    tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read(tree, b"cat/1.jpg,A\ncat/2.jpg,A\ndog/2.jpg,B\ndog/3.jpg,B\n")
    assert caplog.text.count("1 of its rows name no image, such as 'dog/3.jpg', the nearest") == 1


@pytest.mark.parametrize(
    "rows", ["q/cat/1.jpg,A r/cat/1.jpg,B dog/2.jpg,C", "cat/1.jpg,A 1.jpg,B", "1.jpg,A 1.jpg,"]
)
def test_two_rows_of_an_image_agree(tree: Path, rows: str) -> None:
    with pytest.raises(InputError, match=r"two labels for '(cat/)?1.jpg'"):
        read(tree, rows.replace(" ", "\n").encode())


def test_folders_of_another_machine_are_told_from_the_whole_table(
    tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [b"path,y", b"/home/me/cat/1.jpg,A", b"/home/me/dog/2.jpg,B", b"/home/me/cat/9.jpg,C"]
    assert read(tree, b"\n".join(rows)) == ([0, -1, 1], ("A", "B"))
    assert "its paths have below '/home/me/' is taken for paths below the source" in caplog.text
    assert "1 of its rows name no image, such as '/home/me/cat/9.jpg'" in caplog.text
    # One row that names an image as it stands: the paths are of this machine.
    assert read(tree, b"\n".join([*rows, b"cat/2.jpg,D"]))[0] == [-1, 0, -1]
    # The table is of more folders than the source.
    table = b"/me/in/cat/1.jpg,A\n/me/in/dog/2.jpg,B\n/me/out/cat/2.jpg,C\n"
    assert read(tree, table) == ([0, -1, 1], ("A", "B"))
    # Names of files alone agree by chance: then all rows have to, or all images.
    images = tree / "in" / "cat"
    (tree / "labels").write_bytes(b"/me/z/1.jpg,A\n/me/z/3.jpg,B\n")
    with pytest.raises(InputError, match="no row names an image"):
        collect(images, labels=tree / "labels")
    (tree / "labels").write_bytes(b"/me/z/1.jpg,A\n/me/z/2.jpg,B\n/me/z/3.jpg,B\n")
    assert collect(images, labels=tree / "labels").labels.tolist() == [0, 1]


def test_the_end_of_a_path_names_one_image(tree: Path) -> None:
    for name in ("new/cat/1.jpg", "new/hen/1.jpg"):
        (tree / "in" / name).parent.mkdir(parents=True)
        (tree / "in" / name).write_bytes(b"x")
    assert read(tree, b"hen/1.jpg,A\ncat/1.jpg,B\n")[0] == [1, -1, -1, -1, 0]
    (tree / "in" / "cat" / "1.jpg").rename(tree / "in" / "old.jpg")
    (tree / "in" / "cat" / "cat").mkdir()
    (tree / "in" / "cat" / "cat" / "1.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match=r"'cat/1.jpg' names 2 images; give their paths below"):
        read(tree, b"hen/1.jpg,A\ncat/1.jpg,B\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1\n2\n", "has 2 labels for 3 images"),
        (b"", "has 0 labels for 3 images"),
        (b"1\n-2\n0\n", "-1 (none) or more, got -2"),
        (b"1.jpg,1\n2.jpg,2\n", "'2.jpg' names 2 images; give their paths below the source"),
        (b"1.jpg\0,5\n", "holds zero bytes, so it is no text in UTF-8"),
        (b"1.jpg,1\n1.jpg,2\n", "two labels for '1.jpg'"),
        (b"1.jpg,1\n.\\1.jpg,2\n", "two labels for "),
        (
            b"file;what;who;when;why\n1.jpg;a;b;c;d\n",
            "which column is the label? Name it, as FILE:LABEL; read as 2 rows of 5 columns",
        ),
        (
            b"1.jpg;a;b;c;d\ncat/2.jpg;a;b;c;d\n",
            "which column is the label? Give its number, as FILE:LABEL; read as 2 rows of 5",
        ),
        (b"path;label\ncat/11.jpg;a\ndog/x.png;b\n", NEAREST),
        (b"path;label\n1.jpg;\ndog/2.jpg;\n", "the column 'label' is empty for every image; read"),
        (SEVEN.replace(b";may;cat", b";cat"), "most rows have 7 cells, but row 3 has 6"),
        (b"Animals of 2024\n" + SEVEN, "most rows have 7 cells, but row 1 has 1"),
    ],
)
def test_labels_files_that_do_not_fit(tree: Path, content: bytes, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tree, content)
    assert message in str(caught.value)


def test_an_empty_cell_is_no_class_and_is_counted(
    tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = read(tree, b"path,species\n1.jpg,fox\ncat/2.jpg,\ndog/2.jpg,owl\n")
    assert result == ([0, -1, 1], ("fox", "owl"))
    assert "1 of 3 images have no label" in caplog.text
    assert "cat/2.jpg" in caplog.text
    caplog.clear()
    assert read(tree, b"1.jpg,5\ncat/2.jpg,\n") == ([5, -1, -1], ())
    assert "2 of 3 images have no label" in caplog.text
    assert "rows" not in caplog.text
    caplog.clear()
    assert read(tree, b"path,y\n1.jpg,5\ncat/2.jpg,6\ndog/22.jpg,7\nowl.jpg,8\n") == (
        [5, 6, -1],
        (),
    )
    assert "(such as" in caplog.text
    told = "2 of its rows name no image, such as 'dog/22.jpg', the nearest image 'dog/2.jpg'"
    assert told in caplog.text
    caplog.clear()
    assert read(tree, b"fox\n\nowl\n") == ([0, -1, 1], ("fox", "owl"))
    assert "1 of 3 images have no label: their lines are empty" in caplog.text
    assert read(tree, b'"fox"\n""\n"owl"\n') == ([0, -1, 1], ("fox", "owl"))


@pytest.mark.parametrize(
    ("header", "told"),
    [("file,art,animal", True), ("file,,animal", False), ("file,art,species", False)],
)
def test_a_label_column_that_is_a_guess_is_told(
    header: str, told: bool, tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = "1.jpg,fox,a1\ncat/2.jpg,fox,a2\ndog/2.jpg,owl,a2\n"
    assert read(tree, f"{header}\n{rows}".encode()) == ([0, 1, 1], ("a1", "a2"))
    assert ("takes the last column, 'animal', for the label" in caplog.text) == told
    assert ("takes the last column" in caplog.text) == told
    caplog.clear()
    table = tree / "in/table.csv"
    table.write_text(f"{header}\n{rows.replace('1.jpg', 'cat/1.jpg', 1)}")
    assert collect(table).labels.tolist() == [0, 1, 1]
    assert ("takes the last column, 'animal', for the label" in caplog.text) == told
    assert ("takes the last column" in caplog.text) == told
    caplog.clear()
    assert collect(table, labels="none").labels.tolist() == [-1, -1, -1]
    assert "label" not in caplog.text


def test_columns_are_named_by_the_user(tree: Path) -> None:
    table = tree / "table.csv"
    table.write_text("photo,a,b,Species,c\n1.jpg,1,2,fox,3\ncat/2.jpg,1,2,,3\ndog/2.jpg,1,2,owl,\n")
    images = collect(tree / "in", labels=f"{table}:photo,species")
    assert (images.labels.tolist(), images.class_names) == ([0, -1, 1], ("fox", "owl"))
    images = collect(tree / "in", labels=f"{table}:photo,a")
    assert images.labels.tolist() == [1, 1, 1]
    with pytest.raises(
        InputError, match=r"no column 'sex'; read as 4 rows of 5 columns separated by commas, UTF-8"
    ):
        collect(tree / "in", labels=f"{table}:photo,sex")
    table.write_text("photo;species;weight\n1.JPG;fox;3,5\n2.JPG;owl;0,5\n")
    with pytest.raises(InputError, match=r"rows of 3 columns .* '1.JPG', the .* only one has$"):
        collect(tree / "in", labels=f"{table}:photo,species")
    table.write_text("photo;a;b;species\n1.jpg;1;2;fox\n\ncat/2.jpg;1\n")
    with pytest.raises(InputError, match=r"; separated by semicolons, most rows have 4 cells, but"):
        collect(tree / "in", labels=f"{table}:photo,species")
    table.write_text("fox\nowl\nfox\n")
    with pytest.raises(InputError, match="has one column, not 'photo' and 'sex'"):
        collect(tree / "in", labels=f"{table}:photo,sex")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_its_mark_is_named(tree: Path, encoding: str) -> None:
    content = SEVEN.decode().encode(encoding)
    with pytest.raises(InputError, match="begins as UTF-16 without a byte order mark; save it as"):
        read(tree, content)
    (tree / "in.csv").write_bytes(content)
    with pytest.raises(InputError, match="begins as UTF-16 without a byte order mark; save it as"):
        collect(tree / "in.csv")


def test_windows_writes_names_in_its_own_way(tree: Path) -> None:
    for name in ("fuß.jpg", "œuf.jpg"):
        (tree / "in" / name).write_bytes(b"x")
    rows = "1.jpg;café\nfuß.jpg;café\nœuf.jpg;œuf\ncat\\2.jpg;z\ndog\\2.jpg;z\n"
    labels, class_names = read(tree, rows.encode("cp1252"))
    assert class_names == ("café", "z", "œuf")
    assert sorted(labels) == [0, 0, 1, 1, 2]


def test_classes_of_a_table_as_source_are_decoded_as_those_of_labels(tree: Path) -> None:
    table = tree / "in" / "t.csv"
    for encoding in ("cp1252", "utf-8", "utf-16"):
        rows = "file;species\ncat/1.jpg;B\u00e4r\ndog/2.jpg;L\u00f6we\n"
        table.write_text(rows, encoding=encoding)
        images = collect(table)
        assert images.class_names == ("B\u00e4r", "L\u00f6we")
        assert collect(images.paths, labels=table).class_names == images.class_names


def test_words_that_stand_for_no_label(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    told = "cells say 'NaN' or 'n/a', which is no label"
    rows = "1.jpg,NaN\ncat/2.jpg,fox\ndog/2.jpg,n/a\n"
    assert read(tree, rows.encode()) == ([-1, 0, -1], ("fox",))
    assert f"2 {told}" in caplog.text
    for word in ("#N/A", "NA", "null", "<NA>", "nan"):
        assert read(tree, rows.replace("NaN", word).encode()) == ([-1, 0, -1], ("fox",))
    for word in ("none", "empty", "Nana"):  # such as a camera's picture without an animal
        assert read(tree, rows.replace("NaN", word).encode())[1] == tuple(sorted(("fox", word)))
    # Of groups, one a line, and a table as a source.
    assert collect(tree / "in", groups=tree / "labels").groups == ("Nana", "fox", "")
    caplog.clear()
    assert read(tree, b"NaN\nfox\nn/a\n") == ([-1, 0, -1], ("fox",))
    assert f"2 {told}" in caplog.text
    caplog.clear()
    (tree / "in" / "t.csv").write_text("cat/1.jpg,NaN\ncat/2.jpg,fox\ndog/2.jpg,n/a\n")
    images = collect(tree / "in" / "t.csv")
    assert (images.labels.tolist(), images.class_names) == ([-1, 0, -1], ("fox",))
    assert f"2 {told}" in caplog.text
    with pytest.raises(InputError, match="the column 'y' is empty for every image"):
        read(tree, b"path,y\n1.jpg,NA\ndog/2.jpg,NA\n")


def test_labels_that_look_alike(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = "cat/1.jpg,caf\u00e9\ncat/2.jpg,cafe\u0301\u00a0\ndog/2.jpg,Caf\u00e9\n"
    labels, names = read(tree, table.encode())
    assert (labels, names) == ([1, 1, 0], ("Caf\u00e9", "caf\u00e9"))
    assert "2 classes differ from others in case or spaces alone, such as" in caplog.text


def test_folders_of_one_name_in_two_unicode_forms(tmp_path: Path) -> None:
    for name in ("train/caf\u00e9/1.jpg", "val/cafe\u0301/2.jpg", "train/tea/3.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert collect(tmp_path).class_names == ("caf\u00e9", "tea")


def test_two_columns_that_may_be_the_label(tree: Path) -> None:
    table = b"path,species,label\ncat/1.jpg,cat,m\ncat/2.jpg,cat,f\ndog/2.jpg,dog,f\n"
    with pytest.raises(InputError, match=r"which column is the label, 'label' or 'species'\?"):
        read(tree, table)
    (tree / "labels").write_bytes(table)
    images = collect(tree / "in", labels=f"{tree / 'labels'}:path,species")
    assert images.class_names == ("cat", "dog")
    numbered = b"path,label,class\ncat/1.jpg,1,m\ncat/2.jpg,2,f\ndog/2.jpg,2,f\n"
    assert read(tree, numbered) == ([1, 2, 2], ())  # they say the same


def test_a_source_with_two_columns_that_may_be_the_label(
    tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = tree / "in" / "t.csv"
    table.write_bytes(b"path,species,label\ncat/1.jpg,cat,m\ncat/2.jpg,cat,f\ndog/2.jpg,dog,f\n")
    assert collect(table).labels.tolist() == [-1, -1, -1]
    assert "or several that differ are, so the images have no labels" in caplog.text
    assert collect(f"{table}:path,species").class_names == ("cat", "dog")


@pytest.mark.parametrize("columns", ["species", "path,species", "5", "3,5", " Species "])
def test_columns_are_named_or_numbered(tree: Path, columns: str) -> None:
    (tree / "t.csv").write_bytes(SEVEN)
    images = collect(tree / "in", labels=f"{tree / 't.csv'}:{columns}")
    assert images.labels.tolist() == [0, 1, 0]
    assert images.class_names == ("fox", "owl")


def test_a_table_without_header_is_read_by_numbers(tree: Path) -> None:
    (tree / "t.csv").write_bytes(SEVEN.partition(b"\n")[2])
    for columns in ("5", "3,5"):
        images = collect(tree / "in", labels=f"{tree / 't.csv'}:{columns}")
        assert images.class_names == ("fox", "owl")
    with pytest.raises(InputError, match="no column '8'; read as 3 rows of 7 columns"):
        collect(tree / "in", labels=f"{tree / 't.csv'}:8")


def test_a_column_may_be_called_a_number(tree: Path) -> None:
    (tree / "t.csv").write_bytes(b"path,3,2\n1.jpg,a,x\ncat/2.jpg,b,x\ndog/2.jpg,a,x\n")
    assert collect(tree / "in", labels=f"{tree / 't.csv'}:3").class_names == ("a", "b")


def test_the_column_of_paths_is_no_label(tree: Path) -> None:
    (tree / "t.csv").write_bytes(SEVEN)
    told = "the column 'path' names the images; name the label's column too, as FILE:PATH,LABEL"
    with pytest.raises(InputError, match=told):
        collect(tree / "in", labels=f"{tree / 't.csv'}:path")


@pytest.mark.parametrize("line", [b"sep=;\r\n", b'"sep=;"\n', b"SEP=;;;;;;;\n"])
def test_the_line_that_names_excel_its_separator(tree: Path, line: bytes) -> None:
    (tree / "t.csv").write_bytes(b"\xef\xbb\xbf" + line + SEVEN)
    images = collect(tree / "in", labels=f"{tree / 't.csv'}:species")
    assert images.class_names == ("fox", "owl")


def test_two_columns_of_the_name(tree: Path) -> None:
    table = tree / "in" / "t.csv"
    table.write_text("path,label,label\ncat/1.jpg,A,B\ncat/2.jpg,A,B\n")
    told = "two columns are called 'label'; read as 3 rows of 3 columns"
    for images, labels in ((tree / "in", f"{table}:path,label"), (tree / "in", table)):
        with pytest.raises(InputError, match=f"labels file .*t.csv': {told}"):
            collect(images, labels=labels)
    for source in (table, f"{table}:path,label"):
        with pytest.raises(InputError, match=f"table .*t.csv': {told}"):
            collect(source)
    table.write_text("path,Label,label\ncat/1.jpg,A,B\ncat/2.jpg,A,B\n")
    assert collect(f"{table}:path,label").class_names == ("B",)
    with pytest.raises(InputError, match="two columns are called 'label'"):
        collect(f"{table}:path,LABEL")


def test_a_spreadsheet_is_to_be_saved_as_csv(tree: Path) -> None:
    with zipfile.ZipFile(tree / "t.xlsx", "w") as archive:
        archive.writestr("xl/workbook.xml", "<x/>")
        archive.writestr("xl/media/image1.png", b"\x89PNG\r\n\x1a\n")
    (tree / "t.xls").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600))
    for name in ("t.xlsx", "t.xls"):
        with pytest.raises(InputError, match=r"is a spreadsheet, not an image, .*; save it as CSV"):
            collect(tree / name)
        with pytest.raises(InputError, match=f"labels file .*{name}': is a spreadsheet; save it"):
            collect(tree / "in", labels=tree / name)


def test_files_that_are_no_table_have_no_columns(tree: Path) -> None:
    with zipfile.ZipFile(tree / "t.xlsx", "w") as archive:
        archive.writestr("xl/workbook.xml", "<x/>")
    (tree / "m.mat").write_bytes(b"MATLAB 5.0 MAT-file, Platform: GLNXA64" + bytes(600))
    with pytest.raises(InputError, match=r"is a spreadsheet, not an image, .*; save it as CSV"):
        collect(f"{tree / 't.xlsx'}:path,species")
    with pytest.raises(InputError, match=r"is a MATLAB file, .* permute\(images, \[3 2 1 4\]\)"):
        collect(f"{tree / 'm.mat'}:stim")


def test_a_table_of_many_columns_that_is_no_source_shows_a_path(tree: Path) -> None:
    (tree / "in" / "t.csv").write_bytes(SEVEN.replace(b"1.jpg", b"no.jpg").replace(b"/", b"-"))
    with pytest.raises(InputError, match=r"the first path is 'no\.jpg'"):
        collect(tree / "in" / "t.csv")


def test_a_table_that_is_no_source_is_described_whole(tree: Path) -> None:
    (tree / "in" / "t.csv").write_bytes(SEVEN.replace(b"cat/", b"no/").replace(b"dog/", b"no/"))
    with pytest.raises(InputError, match="read as 4 rows of 7 columns separated by semicolons"):
        collect(tree / "in" / "t.csv")


@pytest.mark.parametrize("ending", [".csv", ".tsv"])
def test_a_table_is_a_source(tree: Path, ending: str, caplog: pytest.LogCaptureFixture) -> None:
    table = tree / "in" / f"table{ending}"
    table.write_text("id;file;species\n1;cat/1.jpg;fox\n2;gone.jpg;owl\n3;dog\\2.jpg;\n")
    for source in (table, f"{table}:file,species"):
        images = collect(source)
        result = [os.path.relpath(os.fsdecode(name), tree / "in") for name in images.names]
        assert result == ["cat/1.jpg", "gone.jpg", "dog/2.jpg"]
        assert (images.labels.tolist(), images.class_names) == ([0, 1, -1], ("fox", "owl"))
        assert images.sources[0]["kind"] == "table"
    assert "1 of 3 images have no label" in caplog.text
    images = collect(f"{table}:file")
    assert (len(images), set(images.labels.tolist())) == (3, {-1})
    images = collect(f"{table}:file,id")
    assert images.class_names == ("1", "2", "3")
    table.write_text("path\ncat/1.jpg\ncat/2.jpg\n")
    assert len(collect(table)) == 2
    for encoding in ("utf-8-sig", "utf-16"):
        table.write_text("cat/1.jpg\ncat/2.jpg\n", encoding=encoding)
        assert all(os.path.isfile(name) for name in collect(table).names)
    table.write_text("gone.jpg\ncat/2.jpg\n")
    assert len(collect(table)) == 2  # the first is no header
    caplog.clear()
    table.write_text("a,b,c,d,path\n1,2,3,4,cat/1.jpg\n1,2,3,4,\n")
    assert len(collect(table)) == 1
    assert "no column is called label" in caplog.text
    assert "1 row has no path" in caplog.text


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "subject,reaction time\n3,0.71\n", "x\ny\n"])
def test_a_table_of_something_else_is_no_source(tree: Path, content: str) -> None:
    table = tree / "in" / "table.csv"
    table.write_text(content)
    with pytest.raises(InputError, match="names no image that is there: read as"):
        collect(table)
    with pytest.raises(InputError):
        collect(f"{table}:photo,a")


def test_a_table_of_names_without_endings_is_told_with_its_paths(tree: Path) -> None:
    table = tree / "in" / "table.csv"
    table.write_text("id,path,species\n1,cat/1,fox\n2,cat/2,owl\n")
    with pytest.raises(InputError, match="the first path is 'cat/1'"):
        collect(table)


def test_an_empty_list_is_no_image(tree: Path) -> None:
    (tree / "in" / "list.txt").write_text("")
    with pytest.raises(InputError, match="names no images"):
        collect(tree / "in" / "list.txt")


def test_a_labels_file_of_nothing_but_separators(tree: Path) -> None:
    with pytest.raises(InputError, match="0 labels for 3 images"):
        read(tree, b"\t\n")


def test_a_labels_file_that_is_not_there(tree: Path) -> None:
    with pytest.raises(InputError, match=r"labels file '.*gone' cannot be read"):
        collect(tree / "in", labels=str(tree / "gone"))


def test_no_labels_and_given_ones(tree: Path) -> None:
    assert collect(tree / "in", labels="none").labels.tolist() == [-1, -1, -1]
    assert collect(tree / "in", labels=None).labels.tolist() == [-1, -1, -1]
    assert collect(tree / "in", labels=np.array([3, 1, 2])).labels.tolist() == [3, 1, 2]
    assert collect(tree / "in", labels=("b", "a", "b")).class_names == ("a", "b")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 2], "2 labels for 3 images"),
        ([1, "a", 2], "all integers or all texts, got int, str"),
        ([1.0, 2.0, 3.0], "got float"),
        ([1, 2, -5], "got -5"),
        ([1, 2, 2**63], "got 9223372036854775808"),
        (7, "cannot be taken from a int"),
    ],
)
def test_given_labels_that_do_not_fit(tree: Path, labels: object, message: str) -> None:
    with pytest.raises(InputError) as caught:
        collect(tree / "in", labels=labels)
    assert message in str(caught.value)


def test_the_common_folder_of_paths() -> None:
    assert common_folder([]) == b""
    assert common_folder([b"1.jpg", b"a/2.jpg"]) == b""
    assert common_folder([b"/a/b/1.jpg", b"/a/bc/1.jpg"]) == b"/a/"
    assert common_folder([b"a/b/1.jpg", b"a/b/2.jpg"], depth=1) == b"a/"


@given(st.lists(st.integers(-1, 2**63 - 1) | st.text(max_size=4), max_size=5))
def test_any_sequence_gives_labels_or_an_input_error(values: list[object]) -> None:
    try:
        labels, class_names = labels_from_sequence(values, len(values))
    except InputError:
        return
    if class_names:
        assert [class_names[i] if i >= 0 else "" for i in labels] == values
    else:
        assert labels.tolist() == [-1 if value == "" else value for value in values]


class NotThere:
    """As pandas.NA is: what is compared with it is not there either, and neither true nor false."""

    def __eq__(self, other: object) -> NotThere:  # type: ignore[override]
        return self

    def __ne__(self, other: object) -> NotThere:  # type: ignore[override]
        return self

    def __bool__(self) -> bool:
        raise TypeError("boolean value of NA is ambiguous")


@pytest.mark.parametrize("none", ["", None, float("nan"), NotThere()])
def test_an_empty_label_of_a_sequence_is_none(
    none: object, caplog: pytest.LogCaptureFixture
) -> None:
    labels, names = labels_from_sequence(["owl", none, "fox"], 3)
    assert (labels.tolist(), names) == ([1, -1, 0], ("fox", "owl"))
    assert "1 of 3 labels are empty" in caplog.text
    # As pandas has numbers of which some are missing.
    assert labels_from_sequence([2.0, none, 1], 3)[0].tolist() == [2, -1, 1]
    labels, names = labels_from_sequence([none, none], 2)
    assert (labels.tolist(), names) == ([-1, -1], ())


@given(st.binary(max_size=60), st.integers(0, 3))
def test_any_file_gives_labels_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, count: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "labels"
    path.write_bytes(content)
    names = [b"%d.jpg" % i for i in range(count)]
    try:
        labels, class_names = labels_from_file(path, names, names)
    except InputError:
        return
    assert len(labels) == count
    assert not class_names or set(labels) <= set(range(-1, len(class_names)))
