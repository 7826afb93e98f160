"""The demo as a server: started, asked, and closed."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import threading
from importlib import util
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

import decaf
import forked
from decaf.backbone.weights.load import save_weights
from decaf.backbone.weights.state import Weights
from decaf.cli.main import main


def post(address: str, question: str, body: bytes) -> tuple[int, Any]:
    there = urlsplit(address)
    line = http.client.HTTPConnection(there.netloc, timeout=60)
    try:
        line.request("POST", there.path + question, body)
        reply = line.getresponse()
        return reply.status, json.loads(reply.read())
    finally:
        line.close()


@pytest.fixture(scope="module")
def file(weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network") / "net.safetensors"
    save_weights(path, weights)
    return path


def test_a_python_user_serves_it_until_it_is_stopped(weights: Weights, photograph: bytes) -> None:
    stop = threading.Event()
    replies = []

    def ready(address: str) -> None:
        assert address.startswith("http://127.0.0.1:")
        assert len(urlsplit(address).path) >= 22
        with socket.socket() as other:  # no other address of this machine answers
            other.settimeout(5)
            assert other.connect_ex(("127.0.0.2", urlsplit(address).port or 0)) != 0
        replies.append(post(address, "classes", photograph))
        stop.set()

    backbone = decaf.load_backbone(weights)
    with pytest.raises(decaf.Stopped, match=r"the demo is closed; it gave 1 answer$"):
        decaf.serve_demo(decaf.Classifier(weights=backbone), ready=ready, device="cpu", stop=stop)
    ((status, values),) = replies
    assert status == 200
    assert len(values["classes"]) == 5


def test_features_and_patches_add_questions(
    weights: Weights, folder: Path, photograph: bytes, tmp_path: Path
) -> None:
    backbone, stop = decaf.load_backbone(weights), threading.Event()
    made = decaf.extract(
        folder, "fc7", out=tmp_path / "f.h5", weights=backbone, workers=0, device="cpu"
    )
    assert isinstance(made, decaf.FeatureFile)
    made.close()
    replies = {}

    def ready(address: str) -> None:
        for question in ("classes", "nearest", "units", "places"):
            replies[question] = post(address, question, photograph)
        stop.set()

    with pytest.raises(decaf.Stopped, match="it gave 4 answers"):
        decaf.serve_demo(
            decaf.Classifier(weights=backbone),
            features=tmp_path / "f.h5",
            patches=str(tmp_path / "f.h5"),
            patch_layer="conv4",
            ready=ready,
            neighbours=2,
            device="cpu",
            workers=0,
            progress=False,
            stop=stop,
        )
    assert [status for status, _ in replies.values()] == [200] * 4
    nearest = replies["nearest"][1]["images"]
    assert len(nearest) == 2
    assert nearest[0]["path"].endswith("bee/0.png")
    assert nearest[0]["cosine"] == pytest.approx(1)
    assert replies["units"][1]["layer"] == "conv4"
    assert replies["places"][1]["class"] == replies["classes"][1]["classes"][0][0]


def test_a_layer_is_that_of_features(weights: Weights) -> None:
    with pytest.raises(decaf.SettingError, match="`layer` is that of `features`"):
        decaf.serve_demo(decaf.Classifier(weights=weights), layer="fc6")


@pytest.mark.faults
@pytest.mark.posix("limits")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_closes_it_and_no_upload_is_written(
    number: signal.Signals, file: Path, child_env: dict[str, str], tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (700, 700, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.png")
    upload = (tmp_path / "large.png").read_bytes()
    limit = 4096  # it can write its address, and no photograph
    assert len(upload) > 100 * limit
    process = forked.start(
        child_env, "-m", "decaf", "demo", file, "--no-browser", "--device", "cpu", file_size=limit
    )
    forked.until(lambda: process.written().endswith("\n"), process)
    address = process.written().strip()
    status, values = post(address, "classes", upload)
    assert (status, len(values["classes"])) == (200, 5)
    process.send_signal(number)
    said, complained = process.communicate()
    assert process.returncode == 128 + number
    assert said == f"{address}\n"
    assert complained.splitlines() == [
        "decaf: Ctrl-C closes the page",
        "",
        "decaf: closing the page; once more to stop at once",
        "decaf: the demo is closed; it gave 1 answer",
    ]


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["demo", "--no-browser", *map(str, arguments)]) == 2
    said, complained = capsys.readouterr()
    assert not said
    assert complained.startswith("decaf: ")
    assert complained.count("\n") == 1
    return complained


def test_what_is_missing_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = util.find_spec
    monkeypatch.setattr(
        "decaf.exploration.demo.server.find_spec",
        lambda name: None if name == "uvicorn" else there(name),
    )
    assert "pip install 'decaf-features[demo]'" in told(capsys)


def test_a_port_that_is_taken_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert f"--port {port} cannot be had (Address already in use)" in told(
            capsys, "--port", port
        )


def test_what_is_no_model_is_named(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert "nor a network" in told(capsys, folder / "bee" / "0.png")
    assert "nowhere.head" in told(capsys, folder / "nowhere.head")
