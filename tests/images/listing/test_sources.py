from __future__ import annotations

import codecs
import io
import json
import marshal
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import systems
from decaf.errors import ImageError, InputError
from decaf.images import ImageRef, collect
from decaf.images.decoding.formats import is_hdf5
from decaf.images.listing import image_ref
from decaf.images.listing.annotated_boxes import read_boxes
from decaf.images.listing.recognise import safetensors_metadata

PNG = b"\x89PNG\r\n\x1a\n"

# Names of files, but for an ending. On Windows they are text, and A and a are the same.
ANY_NAME = (
    st.text("aé日 ,;'()#%@!-_", min_size=1, max_size=12).map(os.fsencode)
    if systems.WINDOWS
    else st.binary(min_size=1, max_size=12).filter(
        lambda b: not set(b) & {0, ord("/")} and not b.startswith(b".")
    )
)


def put(root: Path, *names: str | bytes, content: bytes = PNG) -> None:
    for name in names:
        path = os.path.join(os.fsencode(root), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(os.fsdecode(path)).write_bytes(content)


def below(images: object, root: Path) -> list[bytes]:
    prefix = os.fsencode(root) + b"/"
    return [name.removeprefix(prefix) for name in images.names]  # type: ignore[attr-defined]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    put(tmp_path, "dog/2.jpg", "cat/b/1.PNG", "cat/10.jpg", "cat/9.jpg", "top.jpeg", "cat-1.jpg")
    put(tmp_path, "dog/no-ending", "dog/odd.dat")
    put(tmp_path, "readme.txt", "dog/notes.md", "dog/empty.dat", content=b"")
    put(tmp_path, ".hidden.jpg", ".git/1.jpg", "__MACOSX/cat/1.jpg", "cat/._9.jpg")
    return tmp_path


FOUND = [
    b"cat-1.jpg",
    b"cat/10.jpg",
    b"cat/9.jpg",
    b"cat/b/1.PNG",
    b"dog/2.jpg",
    b"dog/no-ending",
    b"dog/odd.dat",
    b"top.jpeg",
]


def test_folder_in_order_of_bytes_with_its_labels(tree: Path) -> None:
    images = collect(tree)
    assert below(images, tree) == FOUND
    assert images.class_names == ("cat", "dog")
    assert images.labels.tolist() == [-1, 0, 0, 0, 1, 1, 1, -1]
    assert images.labels.dtype == np.int64
    assert images.sources == ({"kind": "folder", "path": str(tree), "images": 8},)
    assert not images.in_memory
    assert len(images) == 8


def test_labels_are_those_of_torchvisions_image_folder(shared_data: Path) -> None:
    from torchvision.datasets import ImageFolder

    root = shared_data / "scene15-mini" / "train"
    expected = ImageFolder(str(root))
    images = collect(root)
    assert list(images.class_names) == expected.classes
    got = {os.fsdecode(n): int(v) for n, v in zip(images.names, images.labels, strict=True)}
    assert got == dict(expected.samples)


def test_paths_are_as_given(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    assert collect("cat").names == [b"cat/10.jpg", b"cat/9.jpg", b"cat/b/1.PNG"]
    assert collect("./cat/").names[0] == b"./cat/10.jpg"
    assert collect(b"../" + os.fsencode(tree.name) + b"/cat").names[0].startswith(b"../")


def test_links_are_followed_but_not_round(
    tree: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    put(other, "1.jpg")
    (tree / "cat" / "loop").symlink_to(tree)
    (tree / "dog" / "self").symlink_to(".")
    (tree / "eel").symlink_to(other)
    (tree / "link.jpg").symlink_to(other / "1.jpg")
    (tree / "lost.jpg").symlink_to(tree / "nowhere.jpg")
    (tree / "lost").symlink_to(tree / "nowhere")
    images = collect(tree)
    assert below(images, tree) == sorted([*FOUND, b"eel/1.jpg", b"link.jpg", b"lost.jpg"])
    lost = images.refs[below(images, tree).index(b"lost.jpg")]
    with pytest.raises(ImageError) as caught:
        lost.load()
    assert caught.value.status == "missing"
    assert lost.stat() == (-1, -1)


@pytest.mark.posix("pipes")
def test_pipes_and_sockets_are_never_opened(tree: Path) -> None:
    os.mkfifo(tree / "pipe.jpg")
    os.mkfifo(tree / "cat" / "pipe")
    os.mkfifo(tree / "cat" / "run.json")  # which a folder of decaf's work would have
    assert below(collect(tree), tree) == FOUND
    with pytest.raises(InputError, match="neither a file nor a folder"):
        collect(tree / "pipe.jpg")
    with pytest.raises(ImageError, match="not a regular file") as caught:
        ImageRef(os.fsencode(tree / "pipe.jpg")).load()
    assert caught.value.status == "unreadable"


def test_a_folder_below_that_cannot_be_read_is_left_out_with_a_warning(
    tree: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = os.scandir

    def scandir(path: bytes) -> object:
        if os.fsencode(path).endswith(b"dog"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    left = [name for name in FOUND if not name.startswith(b"dog/")]
    assert below(collect(tree), tree) == left
    (told,) = [r.getMessage() for r in caplog.records if "dog" in r.getMessage()]
    assert told.endswith("dog' cannot be read (Permission denied): what is in it is left out")
    with pytest.raises(InputError, match=r"dog' cannot be read: Permission denied"):
        collect(tree / "dog")


@pytest.mark.parametrize("pattern", ["*/*.jpg", "**/*.jpg", "**"])
def test_a_pattern_warns_of_the_folders_that_cannot_be_read(
    pattern: str, tree: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = os.scandir

    def scandir(path: bytes) -> object:
        if os.fsencode(path).rstrip(b"/").endswith(b"dog"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    (tree / "dig").mkdir()
    put(tree, "dig/2.jpg")
    assert b"dig/2.jpg" in below(collect(f"{tree}/{pattern}"), tree)
    (told,) = (r.getMessage() for r in caplog.records if "dog" in r.getMessage())
    assert told.endswith("dog' cannot be read (Permission denied): what is in it is left out")


@pytest.mark.parametrize("pattern", ["*/2.jpg", "**/*/2.jpg", "**/2.jpg", "*/*.jpg"])
def test_a_pattern_warns_of_the_folders_that_must_not_be_gone_into(
    pattern: str, tree: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = os.stat

    def stat(path: bytes, **how: bool) -> os.stat_result:
        if isinstance(path, bytes) and path.endswith(b"/dog/."):
            raise PermissionError(13, "Permission denied", path)
        return real(path, **how)

    monkeypatch.setattr(os, "stat", stat)
    put(tree, "dig/2.jpg")
    assert b"dig/2.jpg" in below(collect(f"{tree}/{pattern}"), tree)
    (told,) = (r.getMessage() for r in caplog.records if "dog" in r.getMessage())
    assert told.endswith("dog' cannot be read (Permission denied): what is in it is left out")


@pytest.mark.skipif(systems.WINDOWS, reason="Windows lets few users make links")
@pytest.mark.parametrize("pattern", ["*/*", "**", "dog/*.jpg"])
def test_a_pattern_lists_links_to_nothing_as_a_folder_does(pattern: str, tree: Path) -> None:
    (tree / "dog/self.jpg").symlink_to("self.jpg")
    (tree / "dog/gone.jpg").symlink_to("nowhere")
    (tree / "dog/gone.txt").symlink_to("nowhere")
    lost = {b"dog/self.jpg", b"dog/gone.jpg"}
    for source in (tree, f"{tree}/{pattern}"):
        assert lost == {
            name for name in below(collect(source), tree) if (tree / os.fsdecode(name)).is_symlink()
        }


def test_what_decaf_makes_beside_photographs_is_no_photograph(tree: Path) -> None:
    before = collect(tree)
    records = {
        "m.finetune": {"format": "decaf-finetune", "schema": 2},
        "m.finetune/run": {"format": "decaf-train", "schema": 2},
        "n.finetune/before": {"format": "decaf-finetune", "schema": 2},
        "renamed": {"format": "decaf-train", "schema": 2},
        "x.h5.parts": {"run": {}, "fingerprint": "0" * 64, "decaf_version": "1"},
    }
    for folder, record in records.items():
        (tree / folder).mkdir(parents=True)
        name = "finetune.json" if record.get("format") == "decaf-finetune" else "run.json"
        (tree / folder / name).write_text(json.dumps(record))
        (tree / folder / "curves.png").write_bytes(b"x")
        (tree / folder / "more").mkdir()
        (tree / folder / "more" / "1.jpg").write_bytes(b"x")
    (tree / "n.finetune" / "curves.png").write_bytes(b"x")
    with zipfile.ZipFile(tree.parent / "all.zip", "w") as archive:
        for path in sorted(tree.rglob("*")):
            if path.is_file() and "n.finetune" not in path.parts:
                archive.write(path, path.relative_to(tree))
    for images in (collect(tree), collect(tree.parent / "all.zip")):
        labels = dict(zip(images.relative, images.labels.tolist(), strict=True))
        assert labels == dict(zip(before.relative, before.labels.tolist(), strict=True))
        assert images.class_names == before.class_names
        assert images.empty_folders == ()
    assert collect(tree / "**" / "*").relative == before.relative
    for folder in records:
        with pytest.raises(InputError, match="no images in"):
            collect(tree / folder)
    # A record of another program, and a folder that is only called so, hide nothing.
    (tree / "x.h5.parts" / "run.json").write_text('{"speed": 10}')
    assert len(collect(tree)) == len(before) + 2


def test_a_link_to_itself_is_one_bad_image(tree: Path) -> None:
    (tree / "cat" / "loop.jpg").symlink_to("loop.jpg")
    (tree / "loop").symlink_to("loop")
    images = collect(tree)
    assert sorted([*FOUND, b"cat/loop.jpg"]) == below(images, tree)
    with pytest.raises(ImageError, match="ELOOP") as caught:
        images.refs[below(images, tree).index(b"cat/loop.jpg")].load()
    assert caught.value.status == "unreadable"
    assert len(collect(f"{tree}/**/*.jpg")) > 0


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_list_in_utf16(tree: Path, encoding: str) -> None:
    text = "\r\n".join(os.fsdecode(name) for name in FOUND if name.isascii())
    (tree / "all.txt").write_bytes(("\ufeff" + text).encode(encoding))
    assert len(collect(tree / "all.txt")) == len(text.split())
    (tree / "all.txt").write_bytes(text.encode(encoding))
    with pytest.raises(InputError, match="UTF-16 without a byte order mark; save it as UTF-8"):
        collect(tree / "all.txt")


@pytest.mark.parametrize("name", ["all.txt", "all.csv"])
@pytest.mark.parametrize("more", [b"", b"\ntop.jpeg,a\n", b",a\n"])
def test_a_line_of_megabytes_gives_a_short_message(tree: Path, name: str, more: bytes) -> None:
    (tree / name).write_bytes(b"a" * (5 << 20) + more)
    with pytest.raises(InputError) as caught:
        collect(tree / name)
    assert len(str(caught.value)) < 1500
    with pytest.raises(InputError) as caught:
        collect(tree, labels=tree / name)
    assert len(str(caught.value)) < 1500


@pytest.mark.posix("modes")
@pytest.mark.skipif(systems.IS_ROOT, reason="root reads everything")
def test_unreadable_file_keeps_its_row(tree: Path) -> None:
    (tree / "top.jpeg").chmod(0)
    images = collect(tree)
    assert below(images, tree) == FOUND
    with pytest.raises(ImageError) as caught:
        images.refs[-1].load()
    assert caught.value.status == "unreadable"


def test_formats_that_are_not_read_are_not_passed_over(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.heic", "c.jp2", content=b"x")
    assert len(collect(tmp_path)) == 3


@pytest.mark.posix("names")
def test_names_of_any_bytes(tmp_path: Path) -> None:
    names = [b"new\nline.jpg", b"latin-\xe9.jpg", b"sp ace.jpg", b"\xff\xfe/\x80.jpg"]
    put(tmp_path, *names)
    images = collect(tmp_path)
    assert below(images, tmp_path) == sorted(names)
    assert images.class_names == (r"\xff\xfe",)
    for ref in images.refs:
        assert ref.load() == PNG
        assert ImageRef.from_wire(marshal.loads(marshal.dumps(ref.to_wire()))) == ref
    json.dumps(images.sources)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sets(ANY_NAME, min_size=1, max_size=6))
def test_any_names_come_back_once_and_sorted(
    tmp_path_factory: pytest.TempPathFactory, names: set[bytes]
) -> None:
    root = tmp_path_factory.mktemp("any")
    files = [name + b".jpg" for name in names]
    put(root, *files)
    assert below(collect(root), root) == sorted(files)
    assume(not files[0].startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)))  # else text
    listed = b"\0".join(files) + b"\0"
    (root / "list").write_bytes(listed)
    assert below(collect(f"@{root}/list"), root) == files


class TestGlob:
    def test_matches_in_order_with_labels_below_the_fixed_part(self, tree: Path) -> None:
        images = collect(f"{tree}/*/*.jpg")
        assert below(images, tree) == [b"cat/10.jpg", b"cat/9.jpg", b"dog/2.jpg"]
        assert images.labels.tolist() == [0, 0, 1]

    def test_two_stars_go_into_folders(self, tree: Path) -> None:
        assert below(collect(f"{tree}/**/*"), tree) == FOUND

    def test_an_existing_file_with_such_a_name_comes_first(self, tree: Path) -> None:
        put(tree, "cat[19].jpg", "cat1.jpg")
        assert below(collect(f"{tree}/cat[19].jpg"), tree) == [b"cat[19].jpg"]

    def test_links_back_up_are_not_followed(self, tree: Path) -> None:
        """Two of them in a folder would be 2 to the 40 paths before the system says no."""
        (tree / "again").symlink_to(".")
        (tree / "loop").symlink_to(".")
        (tree / "cat" / "up").symlink_to(tree)
        assert below(collect(f"{tree}/**/*"), tree) == FOUND
        assert below(collect(f"{tree}/**"), tree) == FOUND
        assert below(collect(f"{tree}/**/*/**/9.jpg"), tree) == [b"cat/9.jpg"]
        assert below(collect(f"{tree}/*/9.jpg"), tree) == [b"cat/9.jpg"]
        assert below(collect(f"{tree}/*/**/2.jpg"), tree) == [b"dog/2.jpg"]

    def test_two_stars_from_the_working_folder(
        self, tree: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tree)
        (tree / "loop").symlink_to(".")
        assert collect("**/*.jpg").names == [f for f in FOUND if f.endswith(b".jpg")]
        assert collect("./**/9.jpg").names == [b"./cat/9.jpg"]
        assert collect("cat/**/1.PNG").names == [b"cat/b/1.PNG"]
        with pytest.raises(InputError, match="no images match"):
            collect("cat/**/")

    def test_a_pattern_that_matches_nothing_is_refused(self, tree: Path) -> None:
        with pytest.raises(InputError, match=r"no images match '.*\*\.bmp'"):
            collect(f"{tree}/*.bmp")


class TestLists:
    @pytest.mark.parametrize("separator", [b"\n", b"\r\n", b"\0", b"\n\n"])
    def test_entries_lie_beside_the_list(self, tree: Path, separator: bytes) -> None:
        entries = [b"dog/2.jpg", b"cat/9.jpg", os.fsencode(tree) + b"/top.jpeg", b"gone.jpg"]
        (tree / "l.txt").write_bytes(separator.join(entries) + separator)
        images = collect(tree / "l.txt")
        assert below(images, tree) == [b"dog/2.jpg", b"cat/9.jpg", b"top.jpeg", b"gone.jpg"]
        assert [ref.stat()[0] for ref in images.refs] == [8, 8, 8, -1]
        assert images.labels.tolist() == [1, 0, -1, -1]

    @pytest.mark.posix("names")
    def test_newlines_in_names_when_separated_by_nul(self, tree: Path) -> None:
        put(tree, b"a\nb.jpg")
        (tree / "l.lst").write_bytes(b"a\nb.jpg\0top.jpeg\0")
        assert below(collect(tree / "l.lst"), tree) == [b"a\nb.jpg", b"top.jpeg"]

    def test_a_byte_order_mark_is_not_part_of_a_name(self, tree: Path) -> None:
        (tree / "l.txt").write_bytes(b"\xef\xbb\xbftop.jpeg\n")
        assert below(collect(tree / "l.txt"), tree) == [b"top.jpeg"]

    def test_labels_below_what_all_entries_share(self, tree: Path) -> None:
        (tree / "l.list").write_text(f"{tree}/cat/9.jpg\n{tree}/cat/b/1.PNG\n{tree}/dog/2.jpg\n")
        assert collect(tree / "l.list").class_names == ("cat", "dog")

    def test_a_list_is_read_from_standard_input(
        self, tree: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tree)
        monkeypatch.setattr(
            sys, "stdin", io.TextIOWrapper(io.BytesIO(b"cat/9.jpg\0top.jpeg"), encoding="utf-8")
        )
        images = collect("-")
        assert images.names == [b"cat/9.jpg", b"top.jpeg"]
        assert images.sources[0]["path"] == "-"

    @pytest.mark.parametrize("content", [b"", b"\n \r\n", b"\0\0"])
    def test_a_list_of_nothing(self, tree: Path, content: bytes) -> None:
        (tree / "l.txt").write_bytes(content)
        with pytest.raises(InputError, match="names no images"):
            collect(f"@{tree}/l.txt")

    def test_a_list_of_which_nothing_exists(
        self, tree: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tree / "lists").mkdir()
        (tree / "lists" / "l.txt").write_text("cat/9.jpg\ntop.jpeg\na.jpg\nb.jpg\n")
        with pytest.raises(InputError) as caught:
            collect(tree / "lists" / "l.txt")
        told = str(caught.value)
        assert "none of its 4 files exists: '" in told
        assert f"lists/top.jpeg', '{tree}/lists/a.jpg' and 1 more; entries are" in told
        assert f"relative to the list's own folder ('{tree}/lists')" in told
        monkeypatch.chdir(tree / "lists")
        monkeypatch.setattr(
            sys, "stdin", io.TextIOWrapper(io.BytesIO(b"cat/9.jpg\n"), encoding="utf-8")
        )
        with pytest.raises(
            InputError, match=r"none of its 1 file .* the working folder \('.*lists"
        ):
            collect("-")

    def test_a_list_that_is_not_there(self, tree: Path) -> None:
        with pytest.raises(
            InputError, match=r"list file '.*gone' cannot be read: No such file or directory$"
        ):
            collect(f"@{tree}/gone")

    def test_an_image_is_no_list_whatever_its_ending(self, tree: Path) -> None:
        put(tree, "image.txt")
        assert below(collect(tree / "image.txt"), tree) == [b"image.txt"]


class TestSeveral:
    def test_one_after_the_other_and_twice_if_named_twice(self, tree: Path) -> None:
        images = collect([tree / "dog", str(tree / "top.jpeg"), tree / "cat", tree / "dog"])
        dog = [b"dog/2.jpg", b"dog/no-ending", b"dog/odd.dat"]
        cat = [b"cat/10.jpg", b"cat/9.jpg", b"cat/b/1.PNG"]
        assert below(images, tree) == [*dog, b"top.jpeg", *cat, *dog]
        assert images.class_names == ("b",)
        assert images.labels.tolist() == [-1] * 6 + [0] + [-1] * 3
        assert [s["images"] for s in images.sources] == [3, 1, 3, 3]

    def test_a_run_of_files_is_one_source(self, tree: Path) -> None:
        images = collect(np.array([f"{tree}/top.jpeg", f"{tree}/cat/9.jpg", f"{tree}/cat/10.jpg"]))
        assert images.sources == ({"kind": "files", "path": "", "images": 3},)
        assert images.labels.tolist() == [-1] * 3

    def test_a_missing_image_among_others_keeps_its_place(self, tree: Path) -> None:
        images = collect([tree / "gone.jpg", tree / "top.jpeg"])
        assert below(images, tree) == [b"gone.jpg", b"top.jpeg"]

    def test_what_is_missing_and_no_image_is_a_mistake(self, tree: Path) -> None:
        with pytest.raises(InputError, match="gone': No such file"):
            collect([tree / "top.jpeg", tree / "gone"])
        with pytest.raises(InputError, match=r"gone.jpg': No such file"):
            collect(tree / "gone.jpg")
        with pytest.raises(InputError, match="none of the 2 files exists"):
            collect([tree / "gone.jpg", tree / "away.jpg"])


@pytest.mark.parametrize("images", [[], (), np.zeros((0, 4, 4, 3), np.uint8), iter([])])
def test_nothing_is_a_mistake(images: object) -> None:
    with pytest.raises(InputError, match="no images"):
        collect(images)


def test_a_folder_of_nothing_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no images in"):
        collect(tmp_path)


@pytest.mark.parametrize("images", [3, None, {"a": 1}.keys, object()])
def test_what_holds_no_images(images: object) -> None:
    with pytest.raises(InputError, match="cannot be taken from"):
        collect(images)


def test_a_file_too_large_to_be_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_ref, "MAX_FILE_BYTES", 7)
    put(tmp_path, "a.jpg")
    with pytest.raises(ImageError, match="8 bytes; 7 bytes is the limit") as caught:
        collect(tmp_path).refs[0].load()
    assert caught.value.status == "too_large"


def test_names_that_no_file_could_hold_are_refused_before_anything_is_computed(
    tmp_path: Path,
) -> None:
    put(tmp_path, "a.jpg")
    listed = tmp_path / "list.txt"
    listed.write_bytes(b"a.jpg\n" + b"b" * 65_540 + b".jpg\n")
    with pytest.raises(InputError, match=r"image 1 has a name of 6\d+ bytes .* 65536 can be kept"):
        collect(listed)
    with pytest.raises(InputError, match="class 0 has a name of 65537 bytes"):
        collect([np.zeros((4, 4, 3), np.uint8)], labels=["c" * 65_537])


def test_references_by_slice_and_from_the_end(tree: Path) -> None:
    refs = collect(tree).refs
    assert [r.name for r in refs[-2:]] == [r.name for r in list(refs)[-2:]]
    assert refs[-1] == refs[7]
    with pytest.raises(IndexError):
        refs[8]


class TestInMemory:
    def test_a_list_of_arrays_and_pillow_images(self, photo: np.ndarray) -> None:
        from PIL import Image

        images = collect([photo, Image.fromarray(photo)])
        assert images.in_memory
        assert images.names == [b"0", b"1"]
        assert images.get(0) is photo
        assert images.sources == ({"kind": "objects", "path": "list", "images": 2},)

    def test_an_array_of_images(self, photo: np.ndarray) -> None:
        images = collect(np.stack([photo, 255 - photo]), labels=["b", "a"])
        np.testing.assert_array_equal(images.get(1), 255 - photo)
        assert (images.labels.tolist(), images.class_names) == ([1, 0], ("a", "b"))

    @pytest.mark.parametrize(
        "array",
        [np.zeros((4, 4, 3), np.uint8), np.zeros((2, 4, 4, 3)), np.zeros((2, 2, 4, 5), "u1")],
    )
    def test_an_array_of_something_else(self, array: np.ndarray) -> None:
        with pytest.raises(InputError, match=r"array is of shape"):
            collect(array)

    def test_a_data_set_with_labels(self, photo: np.ndarray) -> None:
        import torch

        class Data(torch.utils.data.Dataset):
            classes = ("x", "y")
            targets = torch.tensor([1, 0, 1])

            def __len__(self) -> int:
                return 3

            def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
                return photo + index, int(self.targets[index])

        images = collect(Data())
        np.testing.assert_array_equal(images.get(2), photo + 2)
        assert (images.labels.tolist(), images.class_names) == ([1, 0, 1], ("x", "y"))
        part = collect(torch.utils.data.Subset(Data(), [2, 1]))
        np.testing.assert_array_equal(part.get(0), photo + 2)
        assert part.labels.tolist() == [1, 0]
        assert collect(Data(), labels="none").labels.tolist() == [-1] * 3

    def test_tensors_one_or_a_batch(self) -> None:
        import torch

        one, batch = torch.zeros(3, 4, 5), torch.ones(2, 3, 4, 5)
        assert collect(one).get(0) is one
        assert torch.equal(collect(batch).get(1), batch[1])

    def test_an_iterable_of_items(self, photo: np.ndarray) -> None:
        images = collect((photo + i, i) for i in range(3))
        np.testing.assert_array_equal(images.get(2), photo + 2)

    def test_files_are_not_got_as_objects(self, tree: Path) -> None:
        with pytest.raises(TypeError, match="use refs"):
            collect(tree).get(0)

    def test_paths_and_images_do_not_mix(self, tree: Path, photo: np.ndarray) -> None:
        with pytest.raises(InputError, match="mixes 1 path with 1 image"):
            collect([tree, photo])


def test_listing_needs_no_torch(tree: Path) -> None:
    code = "import sys; from decaf.images import collect; collect(sys.argv[1]); "
    code += "sys.exit(any(m in sys.modules for m in ('torch', 'PIL')))"
    assert subprocess.run([sys.executable, "-c", code, str(tree)]).returncode == 0


@pytest.mark.posix("pipes")
def test_a_pipe_is_read_where_somebody_writes_to_it(tree: Path) -> None:
    """As ``<(…)`` of a shell; without a writer, opening it would wait for ever."""
    os.mkfifo(tree / "pipe")
    for images, labels in ((f"@{tree / 'pipe'}", "folder"), (tree, tree / "pipe")):
        with pytest.raises(InputError, match=r"names no images|has 0 labels for"):
            collect(images, labels=labels)
    for source in (tree / "pipe", f"{tree / 'pipe'}:path,label"):
        with pytest.raises(InputError):
            collect(source)
    with pytest.raises(InputError, match="no table of boxes"):
        read_boxes(tree / "pipe")
    assert not is_hdf5(tree / "pipe")
    assert safetensors_metadata(tree / "pipe") is None
    reading, writing = os.pipe()
    os.write(writing, os.path.join(tree, "cat/9.jpg").encode())
    os.close(writing)
    assert collect(f"@/dev/fd/{reading}").names == [os.fsencode(tree / "cat/9.jpg")]
    os.close(reading)
