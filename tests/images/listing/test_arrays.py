"""Arrays of images in files are sources as folders are; what is none is refused with a reason."""

from __future__ import annotations

import os
import pickle
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest

import decaf
from decaf.errors import ImageError, InputError, OutputError
from decaf.features.verify import verify
from decaf.images import ImageRef, collect
from decaf.images.decoding.decode import decode

WEIGHTS = "random:0:alexnet-64"


@pytest.fixture
def stimuli(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (5, 20, 30, 3), dtype=np.uint8)


def pixels(ref: ImageRef) -> np.ndarray:
    return decode(ImageRef.from_wire(ref.to_wire()).load()).pixels


@pytest.mark.parametrize("channels", [0, 1, 3])
def test_an_npy_file_is_a_source_of_images(
    tmp_path: Path, stimuli: np.ndarray, channels: int
) -> None:
    array = stimuli[..., :channels] if channels else stimuli[..., 0]
    np.save(tmp_path / "stim.npy", array)
    images = collect(tmp_path / "stim.npy")
    assert [os.path.basename(name) for name in images.names] == [
        b"stim.npy[%d]" % i for i in range(5)
    ]
    assert images.sources == ({"kind": "npy", "path": str(tmp_path / "stim.npy"), "images": 5},)
    assert images.labels.tolist() == [-1] * 5
    for row, ref in reversed(list(enumerate(images.refs or ()))):
        expected = np.broadcast_to(array[row].reshape(20, 30, -1), (20, 30, 3))
        np.testing.assert_array_equal(pixels(ref), expected)


@pytest.mark.parametrize("options", [{}, {"chunks": (2, 20, 30, 3), "compression": "gzip"}])
def test_the_only_images_of_an_hdf5_file(
    tmp_path: Path, stimuli: np.ndarray, options: dict[str, object]
) -> None:
    with h5py.File(tmp_path / "stim.h5", "w") as file:
        file.create_dataset("stimuli/images", data=stimuli, **options)
        file["stimuli/contrast"] = np.arange(5.0)
    images = collect(tmp_path / "stim.h5")
    assert images.names[3].endswith(b"stim.h5:stimuli/images[3]")
    for row, ref in enumerate(images.refs or ()):
        np.testing.assert_array_equal(pixels(ref), stimuli[row])


def test_one_of_several_datasets(tmp_path: Path, stimuli: np.ndarray) -> None:
    with h5py.File(tmp_path / "stim.h5", "w") as file:
        file["a/x"], file["b"] = stimuli, stimuli[::-1]
    with pytest.raises(InputError, match="2 arrays of images; name one of a/x, b, as FILE:DATASET"):
        collect(tmp_path / "stim.h5")
    images = collect(f"{tmp_path}/stim.h5:b")
    np.testing.assert_array_equal(pixels(images.refs[0]), stimuli[-1])
    assert images.names[0].endswith(b"stim.h5:b[0]")
    with pytest.raises(InputError, match="has no dataset 'c'"):
        collect(f"{tmp_path}/stim.h5:c")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_rows_are_those_of_the_array_in_memory(
    tmp_path: Path, stimuli: np.ndarray, workers: int
) -> None:
    np.save(tmp_path / "stim.npy", stimuli)
    rows = decaf.extract(tmp_path / "stim.npy", weights=WEIGHTS, workers=workers)
    np.testing.assert_array_equal(rows, decaf.extract(stimuli, weights=WEIGHTS))


@pytest.mark.slow
def test_extraction_verification_and_a_classifier(tmp_path: Path, stimuli: np.ndarray) -> None:
    with h5py.File(tmp_path / "stim.h5", "w") as file:
        file["images"] = np.concatenate([stimuli, stimuli // 2])
    out = tmp_path / "f.h5"
    with decaf.extract(tmp_path / "stim.h5", out=out, weights=WEIGHTS, workers=0) as features:
        assert features.paths[7].endswith("stim.h5:images[7]")
    assert verify(out).ok
    labels = ["bright"] * 5 + ["dark"] * 5
    report = decaf.fit(tmp_path / "stim.h5", labels=labels, weights=WEIGHTS, layer="fc6", workers=0)
    assert report is not None


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            np.zeros((4, 8, 8, 3), np.float32),
            r"float32; expected images .* uint8: floats from 0 to",
        ),
        (np.zeros((8, 8, 3), np.uint8), r"shape \(8, 8, 3\) .* looks like one image"),
        (
            np.zeros((4, 8), np.uint8),
            r"shape \(4, 8\) and type uint8; expected images \(N, H, W, 3\)",
        ),
        (np.zeros((4, 8), np.float32), "features of another network go to `decaf fit` as `feat"),
        (np.zeros((4, 8, 8, 2), np.uint8), "expected images"),
        (np.zeros((0, 8, 8, 3), np.uint8), "no images in it"),
        (np.asfortranarray(np.zeros((4, 8, 8, 3), np.uint8)), "ascontiguousarray"),
        (np.array([{}, 1], dtype=object), "expected images"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match=message) as caught:
        collect(tmp_path / "x.npy")
    assert "\n" not in str(caught.value)
    if array.ndim > 2 and array.flags.c_contiguous:
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file["x"] = array
        with pytest.raises(InputError, match="expected images"):
            collect(f"{tmp_path}/x.h5:x")


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    (tmp_path / "x.npy").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(InputError):
        collect(tmp_path / "x.npy")
    np.save(tmp_path / "y.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="expected images"):
        collect(tmp_path / "y.npy")
    assert not (tmp_path / "sprung").exists()


def test_links_out_of_a_file_are_not_followed(tmp_path: Path, stimuli: np.ndarray) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["images"] = stimuli
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["images"] = h5py.ExternalLink("secret.h5", "images")
        file["soft"] = h5py.SoftLink("/nowhere")
        file.create_dataset(
            "raw",
            shape=(2, 2, 2, 3),
            dtype=np.uint8,
            external=[(str(tmp_path / "secret.h5"), 0, 24)],
        )
        layout = h5py.VirtualLayout(stimuli.shape, np.uint8)
        layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "images", stimuli.shape)
        file.create_virtual_dataset("virtual", layout)
    for name in ("images", "soft"):
        with pytest.raises(InputError, match="is a link, which is not followed"):
            collect(f"{tmp_path}/x.h5:{name}")
    for name in ("raw", "virtual"):
        with pytest.raises(InputError, match="lie in other files"):
            collect(f"{tmp_path}/x.h5:{name}")


@pytest.mark.parametrize("chunks", [None, (1, 8, 8, 3), (2, 5, 5, 3)])
@pytest.mark.parametrize("packed", [None, "gzip"])
def test_what_was_never_written_is_no_black_image(
    tmp_path: Path, chunks: tuple[int, ...] | None, packed: str | None
) -> None:
    shape = (6, 8, 8, 3)
    more = {"chunks": chunks, "compression": packed} if chunks else {}
    black = np.zeros(shape, np.uint8)
    for written in (0, 4, 6):
        path = tmp_path / f"{written}.h5"
        with h5py.File(path, "w") as file:
            images = file.create_dataset("images", shape, "u1", **more)
            images[:written] = black[:written]
        if written == 6 or (written and not chunks):  # what is contiguous is allocated whole
            assert len(collect(path)) == 6
            continue
        with pytest.raises(InputError, match=r"claims 1152 bytes, but \d+ are stored: a part was"):
            collect(path)


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ((10_000_000, 227, 227, 3), "claims 1545870000000 bytes, but 0 are stored"),
        ((50, 20_000, 20_000), "an image has at most 178956970 pixels"),
    ],
)
def test_a_bomb_of_a_dataset_is_refused_before_anything_is_read(
    tmp_path: Path, shape: tuple[int, ...], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("images", shape, "u1", chunks=(1, 200, 200, 3)[: len(shape)])
    monkeypatch.setattr(h5py.Dataset, "__getitem__", None)
    with pytest.raises(InputError, match=told):
        collect(tmp_path / "x.h5")


def test_an_array_of_too_many_pixels_is_refused_by_its_shape(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    with open(path, "wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (2, 20_000, 20_000)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + 2 * 20_000**2)
    with pytest.raises(InputError, match="an image has at most 178956970 pixels"):
        collect(path)


def test_an_array_that_changes_meanwhile_is_a_bad_image(
    tmp_path: Path, stimuli: np.ndarray
) -> None:
    np.save(tmp_path / "x.npy", stimuli)
    refs = collect(tmp_path / "x.npy").refs or ()
    np.save(tmp_path / "x.npy", stimuli[:2])
    with pytest.raises(ImageError, match="it has 2 images now"):
        refs[4].load()
    os.truncate(tmp_path / "x.npy", 300)
    with pytest.raises(ImageError, match="bytes too early"):
        refs[0].load()
    (tmp_path / "x.npy").unlink()
    with pytest.raises(ImageError, match="gone"):
        refs[0].load()


def test_what_is_no_source_is_refused_in_one_line(tmp_path: Path, stimuli: np.ndarray) -> None:
    decaf.extract(stimuli, out=tmp_path / "f.h5", weights=WEIGHTS).close()
    np.savez(tmp_path / "x.npz", a=stimuli)
    (tmp_path / "notes.md").write_text("a text\nof two lines\n")
    (tmp_path / "clip.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(2000))
    (tmp_path / "empty").touch()
    for name, what in {
        "f.h5": "a feature file",
        "x.npz": "a file of NumPy arrays",
        "notes.md": "a text file",
        "clip.mp4": "no kind that decaf knows",
        "empty": "a file of zero bytes",
    }.items():
        with pytest.raises(InputError, match=rf"{name}: is .*{what}.*, not an image, a folder, an"):
            collect(tmp_path / name)
    # Named as an image, or among many, a file keeps its row and what is wrong with it.
    (tmp_path / "bad.jpg").write_text("a text")
    assert len(collect(tmp_path / "bad.jpg")) == 1
    assert len(collect([tmp_path / "bad.jpg", tmp_path / "notes.md", tmp_path / "empty"])) == 3
    with pytest.raises(InputError, match="a feature file"):
        collect([tmp_path / "bad.jpg", tmp_path / "f.h5"])


@pytest.mark.posix("open files")
def test_a_file_that_was_replaced_is_read_anew(tmp_path: Path, stimuli: np.ndarray) -> None:
    """An HDF5 file is kept open from one image to the next."""
    path = tmp_path / "a.h5"
    for images in (stimuli, 255 - stimuli):
        with h5py.File(tmp_path / "new", "w") as file:
            file["images"] = images
        os.replace(tmp_path / "new", path)
        refs = collect(path, labels="none").refs
        assert refs is not None
        np.testing.assert_array_equal(pixels(refs[0]), images[0])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("ending", ["npy", "h5"])
def test_channels_may_stand_first(
    tmp_path: Path, stimuli: np.ndarray, channels: int, ending: str
) -> None:
    """As torch has them; (N, H, W, 3) where both might be meant."""
    array = stimuli[..., :channels].transpose(0, 3, 1, 2)
    path = tmp_path / f"stim.{ending}"
    if ending == "npy":
        np.save(path, np.ascontiguousarray(array))
    else:
        with h5py.File(path, "w") as file:
            file["images"] = array
    for row, ref in enumerate(collect(path).refs or ()):
        expected = np.broadcast_to(stimuli[row, ..., :channels], (20, 30, 3))
        np.testing.assert_array_equal(pixels(ref), expected)
    np.testing.assert_array_equal(collect(array).get(3), stimuli[3, ..., :channels])
    both = np.zeros((2, 3, 20, 3), np.uint8)
    assert np.asarray(collect(both).get(0)).shape == (3, 20, 3)


def sparse(path: Path, shape: tuple[int, ...], last: np.ndarray) -> None:
    """Write an array of which the last image alone takes room on the disk."""
    if path.suffix == ".npy":
        with open(path, "wb") as stream:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(stream, header)
            stream.seek((shape[0] - 1) * last.nbytes, os.SEEK_CUR)
            stream.write(last.tobytes())
        return
    with h5py.File(path, "w") as file:
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        space = h5py.h5s.create_simple(shape)
        h5py.h5d.create(file.id, b"imgBrick", h5py.h5t.NATIVE_UINT8, space, settings)
        file["imgBrick"][shape[0] - 1] = last


@pytest.mark.parametrize("name", ["big.npy", "nsd.hdf5", "nsd.hdf5:imgBrick"])
def test_a_large_array_is_read_one_image_at_a_time(
    tmp_path: Path, rng: np.random.Generator, name: str
) -> None:
    """As the stimuli of NSD are stored; the array has 2 GB, an image half a megabyte."""
    last = rng.integers(0, 256, (425, 425, 3), dtype=np.uint8)
    sparse(tmp_path / name.partition(":")[0], (4000, 425, 425, 3), last)
    tracemalloc.start()
    try:
        images = collect(tmp_path / name)
        listed, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        assert images.refs is not None
        for row in (3999, 0, 1234, 3998, 7):
            images.refs[row].load()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(images) == 4000
    assert listed < 8 << 20
    assert most - listed < 5 * last.nbytes
    np.testing.assert_array_equal(pixels(images.refs[3999]), last)


def test_an_image_of_an_array_that_changed_is_told(tmp_path: Path, stimuli: np.ndarray) -> None:
    np.save(tmp_path / "x.npy", stimuli)
    asked = {"out": tmp_path / "f.h5", "weights": WEIGHTS, "workers": 0}
    decaf.extract(tmp_path / "x.npy", **asked).close()
    decaf.extract(tmp_path / "x.npy", **asked).close()  # is there
    stimuli[2] = 255 - stimuli[2]
    np.save(tmp_path / "x.npy", stimuli)
    with pytest.raises(OutputError, match=r"differs .*the content of '.*x\.npy\[2\]'"):
        decaf.extract(tmp_path / "x.npy", **asked)
    result = verify(tmp_path / "f.h5")
    assert (result.compared, result.unavailable) == (4, [(2, "the image has changed since")])
