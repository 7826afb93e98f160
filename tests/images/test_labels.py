from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decaf.errors import InputError
from decaf.images.labels import common_folder, labels_from_file, labels_from_sequence
from decaf.images.sources import collect


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


@pytest.mark.parametrize(
    ("content", "labels", "class_names"),
    [
        (b"4\n0\n-1\n", [4, 0, -1], ()),
        (b"b\r\na\r\nb", [1, 0, 1], ("a", "b")),
        (b"\xef\xbb\xbfb\n\na\nb\n", [1, 0, 1], ("a", "b")),
        (b"red fox\nx,y\n7\n", [1, 2, 0], ("7", "red fox", "x,y")),
        (b"caf\xe9\n\xc3\xa9\nz\n", [0, 2, 1], ("caf\\xe9", "z", "é")),
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
    ],
)
def test_labels_files(
    tree: Path, content: bytes, labels: list[int], class_names: tuple[str, ...]
) -> None:
    assert read(tree, content) == (labels, class_names)


def test_names_with_what_csv_gives_a_meaning(tmp_path: Path) -> None:
    names = [b'"q".jpg', b"a,b.jpg", b"latin-\xe9.jpg", b"new\nline.jpg", b'say "x".jpg']
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
    root = str(tree / "in").encode()
    lines = [root + b"/cat/1.jpg,1", b"cat/1.jpg,9", b"cat/2.jpg,2", b"dog/2.jpg,3"]
    assert read(tree, b"\n".join(lines))[0] == [1, 2, 3]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"1\n2\n", "has 2 labels for 3 images"),
        (b"", "has 0 labels for 3 images"),
        (b"1\n-2\n0\n", "-1 (none) or more, got -2"),
        (b"1.jpg,1\n2.jpg,2\n", "has no label for '"),
        (b"1.jpg;5\ncat/2.jpg;6\ndog/2.jpg;7\n", "is separated by ';'; expected a label a line"),
        (b"path;y\n1.jpg;5\ncat/2.jpg;6\ndog/2.jpg;7\n", "with a comma or a tab between"),
        ("1.jpg,5\n".encode("utf-16"), "zero bytes, as UTF-16 text does; expected a label"),
        (b"1.jpg,1\n1.jpg,2\n", "two labels for '1.jpg'"),
    ],
)
def test_labels_files_that_do_not_fit(tree: Path, content: bytes, told: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tree, content)
    assert told in str(caught.value)


def test_few_of_many_without_a_label_are_named(tree: Path) -> None:
    for i in range(9):
        (tree / "in" / f"{i}x.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match=r"0x.jpg', .*1x.jpg', .*2x.jpg' and 9 more; name images"):
        read(tree, b"nothing,0\n")


def test_a_labels_file_that_is_not_there(tree: Path) -> None:
    with pytest.raises(InputError, match=r"labels file '.*gone' cannot be read"):
        collect(tree / "in", labels=str(tree / "gone"))


def test_no_labels_and_given_ones(tree: Path) -> None:
    assert collect(tree / "in", labels="none").labels.tolist() == [-1, -1, -1]
    assert collect(tree / "in", labels=None).labels.tolist() == [-1, -1, -1]
    assert collect(tree / "in", labels=np.array([3, 1, 2])).labels.tolist() == [3, 1, 2]
    assert collect(tree / "in", labels=("b", "a", "b")).class_names == ("a", "b")


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ([1, 2], "2 labels for 3 images"),
        ([1, "a", 2], "all integers or all texts, got int, str"),
        ([1.0, 2.0, 3.0], "got float"),
        ([1, 2, -5], "got -5"),
        ([1, 2, 2**63], "got 9223372036854775808"),
        (7, "cannot be taken from a int"),
    ],
)
def test_given_labels_that_do_not_fit(tree: Path, labels: object, told: str) -> None:
    with pytest.raises(InputError) as caught:
        collect(tree / "in", labels=labels)
    assert told in str(caught.value)


def test_common_folder() -> None:
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
        assert [class_names[i] for i in labels] == values
    else:
        assert labels.tolist() == values


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
    assert not class_names or set(labels) <= set(range(len(class_names)))
