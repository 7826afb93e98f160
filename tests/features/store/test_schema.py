"""Feature files from strangers: each trick is refused, by name, before anything is followed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

import systems
from decaf.errors import FeatureFileError
from decaf.features.store.opening import open_features
from decaf.features.store.schema import FEATURE_FILE
from decaf.storage import hdf5_checks
from decaf.storage.hdf5 import write_text_attribute
from decaf.storage.hdf5_checks import HDF5Check
from decaf.storage.records import canonical_json, fingerprint

Change = Callable[[h5py.File], None]


def replaced(name: str, **how: object) -> Change:
    """Put another dataset in the place of one."""

    def change(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, **how)

    return change


def packed(data: np.ndarray) -> dict[str, object]:
    return {"data": data, "chunks": True, "compression": "gzip", "fletcher32": True}


def soft_link(file: h5py.File) -> None:
    file["features/fc7"] = h5py.SoftLink("/features/fc6")


def soft_root(file: h5py.File) -> None:
    del file["label"]
    file["label"] = h5py.SoftLink("/status")


def external_link(file: h5py.File) -> None:
    del file["features/fc6"]
    file["features/fc6"] = h5py.ExternalLink("/etc/passwd", "/x")


def external_group(file: h5py.File) -> None:
    del file["features"]
    file["features"] = h5py.ExternalLink("/etc/passwd", "/x")


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(shape=(4, 8), dtype="f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", shape=(4, 8))
    del file["features/fc6"]
    file.create_virtual_dataset("features/fc6", layout)


def cycle(file: h5py.File) -> None:
    file["features/fc7"] = file["features"]


def aliased(file: h5py.File) -> None:
    file["features/fc7"] = file["features/fc6"]
    run = json.loads(file.attrs["run"])
    run["layers"] = ["conv1", "fc6", "fc7"]
    set_run(file, run)


def too_many(file: h5py.File) -> None:
    for i in range(hdf5_checks.MAX_OBJECTS):
        file.create_group(f"features/x{i}")


def named_type(file: h5py.File) -> None:
    del file["label"]
    file["label"] = np.dtype("i8")


def group_for_label(file: h5py.File) -> None:
    del file["label"]
    file.create_group("label")


def dataset_for_features(file: h5py.File) -> None:
    del file["features"]
    file["features"] = 1


def no_layers(file: h5py.File) -> None:
    del file["features/fc6"], file["features/conv1"]


def odd_layer(file: h5py.File) -> None:
    file["features"].move("fc6", "..\n")


def lacking(file: h5py.File) -> None:
    del file["status"]


def set_run(file: h5py.File, run: dict[str, object]) -> None:
    write_text_attribute(file, "run", canonical_json(run))
    write_text_attribute(file, "fingerprint", fingerprint(run))


def attribute(name: str, value: object) -> Change:
    def change(file: h5py.File) -> None:
        if isinstance(value, str):
            write_text_attribute(file, name, value)
        else:
            file.attrs[name] = value

    return change


def no_attribute(name: str) -> Change:
    def change(file: h5py.File) -> None:
        del file.attrs[name]

    return change


def other_layers(file: h5py.File) -> None:
    set_run(file, {"layers": ["fc6", "fc7"]})


def unfilled(file: h5py.File) -> None:
    """Rows that were never written take no room: a petabyte in a few bytes."""
    del file["features/fc6"]
    file.create_dataset("features/fc6", (4, 2**45), "f4", chunks=(1, 2**10), fletcher32=True)


def unfilled_contiguous(file: h5py.File) -> None:
    del file["features/fc6"]
    file.create_dataset("features/fc6", (4, 2**40), "f4")


def unfilled_column(file: h5py.File) -> None:
    del file["label"]
    file.create_dataset("label", (2**50,), "i8", chunks=(2**10,), compression="gzip")


def huge_chunk(file: h5py.File) -> None:
    del file["label"]
    file.create_dataset(
        "label", data=np.zeros(4, "i8"), maxshape=(None,), chunks=(2**24,), compression="gzip"
    )


def references(file: h5py.File) -> None:
    del file["label"]
    file.create_dataset("label", data=[file.ref] * 4, dtype=h5py.ref_dtype)


def region_references(file: h5py.File) -> None:
    region = file["status"].regionref[:]
    del file["label"]
    file.create_dataset("label", data=[region] * 4, dtype=h5py.regionref_dtype)


def unknown_filter(file: h5py.File) -> None:
    del file["label"]
    storage = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    storage.set_chunk((4,))
    storage.set_filter(32000, h5py.h5z.FLAG_OPTIONAL, ())  # lzf: a plugin to others than h5py
    space = h5py.h5s.create_simple((4,))
    h5py.h5d.create(file.id, b"label", h5py.h5t.STD_I64LE, space, storage).write(
        h5py.h5s.ALL, h5py.h5s.ALL, np.zeros(4, "i8")
    )


def scaled(file: h5py.File) -> None:
    del file["features/fc6"]
    file.create_dataset("features/fc6", data=np.ones((4, 8), "f4"), chunks=(4, 8), scaleoffset=2)


def scalar(file: h5py.File) -> None:
    del file["label"]
    file["label"] = np.int64(3)


def null(file: h5py.File) -> None:
    del file["label"]
    file["label"] = h5py.Empty("i8")


def odd_float(file: h5py.File) -> None:
    """A float32 with another exponent bias, which numpy takes for a float32."""
    kind = h5py.h5t.IEEE_F32LE.copy()
    kind.set_ebias(100)
    del file["features/fc6"]
    storage = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    storage.set_chunk((4, 8))
    storage.set_fletcher32()
    space = h5py.h5s.create_simple((4, 8))
    dataset = h5py.h5d.create(file["features"].id, b"fc6", kind, space, storage)
    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, np.zeros((4, 8), "f4"))


F4 = np.zeros((4, 8), np.float32)
CHECKED = {"chunks": (2, 8), "fletcher32": True}
TEXT = h5py.string_dtype("utf-8", 8)
VARIABLE = h5py.string_dtype()

TRICKS: dict[str, tuple[Change, str]] = {
    "soft link": (soft_link, "'fc7' in features is a soft link; feature files hold none"),
    "soft link at root": (soft_root, "'label' in the file is a soft link"),
    "external link": (external_link, "'fc6' in features is an external link"),
    "external link at root": (external_group, "'features' in the file is an external link"),
    "virtual dataset": (virtual, "'fc6' is a virtual dataset; feature files hold their own data"),
    "cycle": (cycle, "holds the layers conv1, fc6, fc7, its settings say"),
    "one dataset twice": (aliased, "'fc7' is the same dataset as another"),
    "too many objects": (too_many, "features holds 66 objects, at most 64 expected"),
    "object too many": (lambda file: file.create_group("extra"), "'extra', which schema 1 has"),
    "named type": (named_type, "'label' is not a dataset"),
    "group for a column": (group_for_label, "'label' is not a dataset"),
    "dataset for the group": (dataset_for_features, "'features' is not a group"),
    "no layers": (no_layers, "'features' holds no layer"),
    "odd layer": (odd_layer, r"'..\n' is not the name of a layer"),
    "column missing": (lacking, "lacks status"),
    "other layers": (other_layers, "holds the layers conv1, fc6, its settings say ['fc6', 'fc7']"),
    "unfilled layer": (unfilled, "'fc6' claims 562949953421312 bytes, but 0 are stored"),
    "unfilled contiguous": (unfilled_contiguous, "'fc6' claims 17592186044416 bytes, but 0 are"),
    "unfilled column": (unfilled_column, "'label' claims 9007199254740992 bytes, but 0 are"),
    "huge chunk": (huge_chunk, "'label' has chunks of 134217728 bytes"),
    "references": (references, "'label' is not of int64"),
    "region references": (region_references, "'label' is not of int64"),
    "unknown filter": (unknown_filter, "'label' is stored with filter 32000, which is not on"),
    "scale-offset filter": (scaled, "'fc6' is stored with filter 6, which is not on the list"),
    "scalar": (scalar, "'label' is not an array"),
    "null dataspace": (null, "'label' is not an array"),
    "odd float": (odd_float, "'features/fc6' is not of float32 or float16"),
    "big-endian": (
        replaced("features/fc6", data=F4.astype(">f4"), **CHECKED),
        "'features/fc6' is not of float32 or float16",
    ),
    "float64": (
        replaced("features/fc6", data=F4.astype("f8"), **CHECKED),
        "'features/fc6' is not of float32 or float16",
    ),
    "text for features": (
        replaced("features/fc6", data=[["a"] * 8] * 4, dtype=TEXT),
        "'features/fc6' is not of float32 or float16",
    ),
    "rows missing": (
        replaced("features/fc6", data=F4[:3], **CHECKED),
        "features/fc6 has shape (3, 8), expected (4, …)",
    ),
    "rows of nothing": (
        replaced("features/fc6", data=F4[:, :0]),
        "features/fc6 has shape (4, 0), expected (4, …)",
    ),
    "one axis": (
        replaced("features/fc6", data=F4[:, 0]),
        "features/fc6 has shape (4,), expected (4, …)",
    ),
    "no checksum": (
        replaced("features/fc6", data=F4, chunks=(2, 8)),
        "features/fc6 is not stored with checksums and nothing else (fletcher32)",
    ),
    "compressed layer": (
        replaced("features/fc6", **packed(F4)),
        "features/fc6 is not stored with checksums and nothing else (fletcher32)",
    ),
    "path of variable length": (
        replaced("path", data=["a"] * 4, dtype=VARIABLE),
        "'path' is not of fixed-length strings",
    ),
    "long paths": (
        replaced("path", **packed(np.zeros(4, "S70000"))),
        "'path' has names of 70000 bytes, at most 65536 expected",
    ),
    "paths in two axes": (
        replaced("path", **packed(np.zeros((2, 2), "S4"))),
        "'path' has shape (2, 2), expected one axis",
    ),
    "label of int32": (replaced("label", data=np.zeros(4, "i4")), "'label' is not of int64"),
    "compound label": (
        replaced("label", data=np.zeros(4, [("a", "i8")])),
        "'label' is not of int64",
    ),
    "label too long": (
        replaced("label", data=np.zeros(5, "i8")),
        "'label' has shape (5,), expected (4,)",
    ),
    "size of three": (
        replaced("source_size", data=np.zeros((4, 3), "i4")),
        "'source_size' has shape (4, 3), expected (4, 2)",
    ),
    "message of numbers": (replaced("message", data=np.zeros(4, "i8")), "'message' is not of text"),
    "message of lists": (
        replaced("message", shape=(4,), dtype=h5py.vlen_dtype(np.int64), data=None, fillvalue=None),
        "'message'",
    ),
    "message of variable length": (
        replaced("message", data=["a"] * 4, dtype=VARIABLE),
        "'message' is text of variable length; feature files hold none",
    ),
    "run of variable length": (
        lambda file: file.attrs.create("run", "{}", dtype=VARIABLE),
        "attribute 'run' is text of variable length; feature files hold none",
    ),
    "message too short": (
        replaced("message", data=["a"], dtype=TEXT),
        "'message' has shape (1,), expected (4,)",
    ),
    "no status names": (
        replaced("status_names", shape=(0,), dtype=TEXT),
        "'status_names' has shape (0,), expected 1 to 256 names",
    ),
    "other format": (attribute("format", "x"), "(its format says 'x', not 'decaf-features')"),
    "no format": (no_attribute("format"), "(its format says None, not 'decaf-features')"),
    "format is a number": (attribute("format", 3), "attribute 'format' is not text"),
    "format is a list": (attribute("format", ["x"]), "attribute 'format' is not one value"),
    "schema of the future": (attribute("schema", 2), "its schema is 2, this decaf reads 1"),
    "no schema": (no_attribute("schema"), "its schema is None, this decaf reads 1"),
    "schema is text": (attribute("schema", "1"), "attribute 'schema' is not an integer"),
    "no run": (no_attribute("run"), "lacks the attributes run"),
    "run is not JSON": (attribute("run", "{"), "attribute 'run' is not JSON"),
    "run is a list": (attribute("run", "[]"), "attribute 'run' is not a JSON object"),
    "run is deep": (attribute("run", "[" * 100_000), "attribute 'run' is not JSON"),
    "run holds NaN": (attribute("run", '{"a": NaN}'), "the file is damaged"),
    "run is not text": (attribute("run", np.bytes_(b"\xff")), "the file is damaged"),
    "run was changed": (attribute("run", '{"layers": ["fc6"]}'), "is not that of its settings"),
    "fingerprint was changed": (attribute("fingerprint", "00"), "its fingerprint '00' is not that"),
}


@pytest.mark.slow
@pytest.mark.parametrize("trick", TRICKS)
def test_a_trick_is_refused(feature_file: Path, trick: str) -> None:
    change, expected = TRICKS[trick]
    with h5py.File(feature_file, "a", libver=("v110", "v110")) as file:
        change(file)
    with pytest.raises(FeatureFileError, match=re.escape(expected)) as refusal:
        open_features(feature_file)
    assert str(refusal.value).startswith(f"{feature_file}: ")
    assert "\n" not in str(refusal.value)


@pytest.mark.posix("pipes")
def test_external_storage_is_refused_and_never_opened(feature_file: Path, tmp_path: Path) -> None:
    # A FIFO: opening it would wait for ever.
    os.mkfifo(tmp_path / "secret")
    with h5py.File(feature_file, "a") as file:
        del file["features/fc6"]
        file.create_dataset(
            "features/fc6", (4, 8), "f4", external=[(str(tmp_path / "secret"), 0, 4 * 8 * 4)]
        )
    with pytest.raises(FeatureFileError, match="'fc6' has its data in another file"):
        open_features(feature_file)


def test_more_stored_than_the_file_has_is_refused(
    feature_file: Path,
) -> None:
    """Chunks that share their bytes would make a small file a large one."""
    with h5py.File(feature_file) as file:
        check = HDF5Check(file, "f.h5", FEATURE_FILE)
        check.dataset(file["features"], "fc6")
        check.total()
        check.file_bytes = check.stored_bytes - 1
        with pytest.raises(FeatureFileError, match=r"f\.h5: its data claims \d+ bytes of a file"):
            check.total()


def test_columns_that_unpack_to_too_much_are_refused(
    feature_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hdf5_checks, "MAX_UNPACKED_BYTES", 10)
    monkeypatch.setattr(hdf5_checks, "MAX_UNPACKED_RATIO", 0)
    with pytest.raises(FeatureFileError, match="columns would unpack to"):
        open_features(feature_file)


def test_values_out_of_range_are_told_by_row(feature_file: Path) -> None:
    with h5py.File(feature_file, "a") as file:
        file["label"][2] = 2
        file["status"][1] = 3
    with open_features(feature_file) as file:
        with pytest.raises(FeatureFileError, match=r"label, row 2: .*2.* found, -1 to 1 expected"):
            file.labels  # noqa: B018
        with pytest.raises(FeatureFileError, match=r"status, row 1: .*3.* found, below 3 expected"):
            file.ok  # noqa: B018


def test_status_names_begin_with_ok(feature_file: Path) -> None:
    with h5py.File(feature_file, "a") as file:
        file["status_names"][0] = "fine"
    with (
        open_features(feature_file) as file,
        pytest.raises(FeatureFileError, match="'fine' found, 'ok' first expected"),
    ):
        file.status_names  # noqa: B018


def test_text_that_is_not_utf8(feature_file: Path) -> None:
    with h5py.File(feature_file, "a") as file:
        file["class_names"][0] = b"\xff"
    with open_features(feature_file) as file, pytest.raises(FeatureFileError, match="utf-8"):
        file.class_names  # noqa: B018


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.mkdir(), "is a folder, not a feature file"),
        pytest.param(
            lambda path: os.mkfifo(path),
            "is neither a file nor a folder, not a feature",
            marks=pytest.mark.posix("pipes"),
        ),
        (lambda path: path.write_bytes(b""), "is a file of zero bytes, not a feature file"),
        (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n"), "an HDF5 file, but cut short"),
        (lambda path: path.write_text("path,label\n" * 100), "is a text file, not a feature file"),
        (lambda path: path.symlink_to("itself"), "No such file"),
        (lambda path: h5py.File(path, "w").close(), "(its format says None, not 'decaf-features')"),
    ],
    ids=["missing", "folder", "fifo", "empty", "signature", "text", "broken link", "other HDF5"],
)
def test_what_is_no_feature_file_at_all(
    tmp_path: Path, make: Callable[[Path], object], expected: str
) -> None:
    path = tmp_path / "x.h5"
    make(path)
    with pytest.raises(FeatureFileError, match=re.escape(expected)) as refusal:
        open_features(path)
    assert str(refusal.value).startswith(f"{path}: ")


def test_a_name_with_nul() -> None:
    with pytest.raises(FeatureFileError, match="null"):
        open_features("a\0b.h5")


@pytest.mark.posix("modes")
@pytest.mark.skipif(systems.IS_ROOT, reason="root may read everything")
def test_a_file_that_may_not_be_read(feature_file: Path) -> None:
    feature_file.chmod(0)
    with pytest.raises(FeatureFileError, match="Permission denied"):
        open_features(feature_file)


@pytest.mark.posix("flock")
@pytest.mark.skipif("HDF5_USE_FILE_LOCKING" in os.environ, reason="locks are set from outside")
def test_a_file_that_is_being_written_is_refused(feature_file: Path) -> None:
    import fcntl

    # The lock that HDF5 takes on a file it writes to.
    with open(feature_file, "rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(FeatureFileError, match="lock"):
            open_features(feature_file)
    open_features(feature_file).close()


def test_every_cut_is_refused(feature_file: Path) -> None:
    data = feature_file.read_bytes()
    for length in range(0, len(data), 97):
        feature_file.write_bytes(data[:length])
        with pytest.raises(FeatureFileError):
            open_features(feature_file)


def test_a_damaged_chunk_is_told_by_rows(
    write_features: Callable[..., Path], tmp_path: Path
) -> None:
    path = write_features(tmp_path / "f.h5", rows=20)
    with h5py.File(path) as file:
        chunk = file["features/fc6"].id.get_chunk_info(4)
        whole = file["features/fc6"][()]
    data = bytearray(path.read_bytes())
    data[chunk.byte_offset + chunk.size // 2] ^= 0x10
    path.write_bytes(data)
    said = f"{path}: features/fc6, rows 12 to 14: the data is damaged"
    with open_features(path) as file:
        # What is whole can be read, and what is asked for decides.
        np.testing.assert_array_equal(file["fc6"][:12], whole[:12])
        np.testing.assert_array_equal(file["fc6"][[15, 19]], whole[[15, 19]])
        for read in (
            lambda: file["fc6"][:],
            lambda: file["fc6"][13],
            lambda: file["fc6"][[0, 14]],
            lambda: file.to_xy("fc6"),
            lambda: np.asarray(file["fc6"]),
        ):
            with pytest.raises(FeatureFileError, match=re.escape(said)):
                read()


def test_a_damaged_column_is_told_by_name(feature_file: Path) -> None:
    with h5py.File(feature_file) as file:
        chunk = file["label"].id.get_chunk_info(0)
    data = bytearray(feature_file.read_bytes())
    data[chunk.byte_offset + chunk.size - 1] ^= 1
    feature_file.write_bytes(data)
    with (
        open_features(feature_file) as file,
        pytest.raises(FeatureFileError, match=r"label, rows 0 to 3: the data is damaged"),
    ):
        file.labels  # noqa: B018
