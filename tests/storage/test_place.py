"""Folders here and in a store: files appear whole, and of several makers one makes a file."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from decaf.errors import DiskError, SettingError
from decaf.storage import object_store
from decaf.storage.object_store import StoreError, patiently
from decaf.storage.place import LocalFolder, Place, RemoteFolder, open_place


@pytest.fixture(params=["local", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "local":
        yield open_place(tmp_path / "set")
        return
    yield open_place("memory://place/set")
    fsspec.filesystem("memory").rm("/place", recursive=True)


def test_files_come_and_go(place: Place) -> None:
    assert place.names() == set()
    assert not place.exists("a/b")
    place.write("a/b", b"1")
    place.write("a/b", b"2")
    place.write("c", b"3")
    assert (place.names(), place.names("a"), place.names("none")) == ({"c"}, {"b"}, set())
    assert place.read("a/b") == b"2"
    with place.open("a/b") as file:
        assert file.read() == b"2"
    with place.local("a/b") as path:
        assert path.read_bytes() == b"2"
    place.remove("c")
    place.remove("c")
    assert not place.exists("c")
    with pytest.raises(FileNotFoundError):
        place.read("c")


def test_of_several_at_once_one_makes_a_file(place: Place) -> None:
    made: list[bytes] = []
    begin = threading.Barrier(8)

    def create(number: int) -> None:
        data = b"%d" % number
        begin.wait()
        if place.create("run.json", data):
            made.append(data)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert place.read("run.json") in made
    if isinstance(place, LocalFolder):  # the store in memory looks and writes in two steps
        assert len(made) == 1
    assert not place.create("run.json", b"x")
    assert place.names() == {"run.json"}


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_what_a_killed_run_left_of_a_file_is_taken_away(tmp_path: Path, step: str) -> None:
    script = (
        f"import os; from decaf.storage.place import LocalFolder; os.{step} = lambda *_: "
        f"os.kill(os.getpid(), 9); LocalFolder.create(LocalFolder(__import__('pathlib').Path("
        f"{str(tmp_path)!r})), 'run.json', b'1')"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode != 0
    assert not (tmp_path / "run.json").exists()
    assert LocalFolder(tmp_path).create("run.json", b"2")
    assert os.listdir(tmp_path) == ["run.json"]
    assert not LocalFolder(tmp_path).create("run.json", b"3")
    assert (tmp_path / "run.json").read_bytes() == b"2"


def test_what_fails_while_it_is_made_is_not_there(place: Place) -> None:
    from decaf.storage import whole_file

    def make(path: Path, fail: bool) -> None:
        with whole_file(path) as stream:
            stream.write(b"half")
            if fail:
                raise ValueError("made no further")
            stream.write(b" and whole")

    with pytest.raises(ValueError, match="made no further"):
        place.publish("part", lambda path: make(path, True))
    assert place.names() == set()
    place.publish("part", lambda path: make(path, False))
    assert place.read("part") == b"half and whole"
    assert place.names() == {"part"}


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr(object_store, "_sleep", waited.append)
    monkeypatch.setattr(object_store, "_random", lambda: 0.0)
    return waited


def failing(times: int, error: Exception) -> Callable[[], str]:
    left = [error] * times

    def call() -> str:
        if left:
            raise left.pop()
        return "done"

    return call


def test_pauses_double(pauses: list[float]) -> None:
    assert patiently("s3://a", failing(4, OSError("SlowDown"))) == "done"
    assert pauses == [0.25, 0.5, 1.0, 2.0]
    with pytest.raises(StoreError, match="s3://a: failed 7 times, at last with OSError: SlowDown"):
        patiently("s3://a", failing(7, OSError("SlowDown")))


@pytest.mark.parametrize("error", [FileNotFoundError("a"), PermissionError("a"), TypeError("a")])
def test_what_no_repetition_mends_is_told_at_once(error: Exception, pauses: list[float]) -> None:
    with pytest.raises(type(error)):
        patiently("s3://a", failing(1, error))
    assert pauses == []


def test_a_full_disk_of_this_machine_is_none_of_the_store(pauses: list[float]) -> None:
    with pytest.raises(DiskError, match="s3://a: the disk is full of this machine"):
        patiently("s3://a", failing(1, OSError(28, "No space left on device")))
    assert pauses == []


def test_a_store_that_nobody_knows_is_told() -> None:
    with pytest.raises(SettingError, match="nonesuch://a/b: cannot be reached"):
        open_place("nonesuch://a/b")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # moto's and botocore's own
def test_a_real_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 as moto speaks it, over HTTP on this machine."""
    server_of = pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    server = server_of.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir("bucket")
        place = open_place("s3://bucket/set")
        assert isinstance(place, RemoteFolder)
        assert place.create("run.json", b"1")
        assert not place.create("run.json", b"2")
        place.publish("part", lambda path: path.write_bytes(b"x" * 1000) and None)
        assert place.names() == {"run.json", "part"}
        facts = object_store.list_folder("s3://bucket/set")["part"]
        assert facts == object_store.file_facts("s3://bucket/set/part")
        assert facts.size == 1000
        place.write("part", b"y" * 1000)
        assert object_store.file_facts("s3://bucket/set/part") != facts
        assert object_store.list_pattern("s3://bucket/s*/p*") == ["s3://bucket/set/part"]
        place.remove("part")
        assert place.names() == {"run.json"}
    finally:
        server.stop()
        s3fs.S3FileSystem.clear_instance_cache()
