"""The demo's application: whom it answers, what, and what it refuses."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import re
import struct
import threading
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import decaf
from asgi_requests import ask, ask_async
from decaf.backbone.weights.state import Weights
from decaf.classify import Classifier
from decaf.exploration.demo.answers import Answers
from decaf.exploration.demo.photograph import Photograph
from decaf.exploration.demo.settings import DemoSettings
from decaf.features.settings import RunSettings
from decaf.heads import LogisticRegression
from decaf.heads.feature_identity import FeatureIdentity
from decaf.heads.saved import SavedHead
from decaf.runtime.wording import byte_size

AppOf = Callable[..., Any]
AnswersOf = Callable[..., Answers]


def blank_png(side: int) -> bytes:
    """A square PNG of black pixels, one bit each, that packs to nearly nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(side * (1 + -(-side // 8))))
    parts = chunk(b"IHDR", header), chunk(b"IDAT", rows), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def jpeg() -> bytes:
    data = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(data, "JPEG")
    return data.getvalue()


def test_the_answer_is_that_of_classify(app_of: AppOf, folder: Path, weights: Weights) -> None:
    paths = sorted(folder.glob("*/0.png"))
    expected = decaf.load_backbone(weights).classify(paths)
    app = app_of()
    for path, best in zip(paths, expected, strict=True):
        reply = ask(app, "POST", "/secret/classes", path.read_bytes())
        assert reply.status == 200
        assert [name for name, _ in reply.json["classes"]] == [name for name, _ in best]
        shares = [share for _, share in reply.json["classes"]]
        np.testing.assert_allclose(shares, [share for _, share in best], rtol=1e-4)
        assert reply.json["gives"] == "probability"
        size = [reply.json[name] for name in ("width", "height", "format")]
        assert size == [90, 70, "PNG"]


def test_the_picture_is_the_crop_that_the_network_sees(
    app_of: AppOf, photograph: bytes, weights: Weights
) -> None:
    seen = ask(app_of(), "POST", "/secret/classes", photograph).json["seen"]
    picture = Image.open(io.BytesIO(base64.b64decode(seen.partition(",")[2])))
    spec = weights.preprocess
    whole = Image.open(io.BytesIO(photograph)).resize(
        [spec.resize_to] * 2, Image.Resampling.BILINEAR
    )
    edge = (spec.resize_to - spec.crop) // 2
    crop = whole.crop((edge, edge, edge + spec.crop, edge + spec.crop))
    assert picture.size == crop.size
    difference = np.asarray(picture, float) - np.asarray(crop, float)
    assert np.abs(difference).mean() < 0.5 * np.asarray(crop, float).std()


def test_a_head_answers_with_its_classes(
    app_of: AppOf,
    answers_of: AnswersOf,
    folder: Path,
    weights: Weights,
    photograph: bytes,
) -> None:
    rows = decaf.extract(folder, "fc7", weights=weights, workers=0, device="cpu")
    assert isinstance(rows, np.ndarray)
    backbone = decaf.load_backbone(weights)
    run = RunSettings(("fc7",)).record(backbone)
    y = np.arange(len(rows)) % 2
    names = ("<script>alert(1)</script>", "b\x1b[31m")
    head = SavedHead(
        LogisticRegression(solver="sklearn").fit(rows, y), FeatureIdentity.of(run, "fc7"), names, {}
    )
    classifier = Classifier(head, weights=backbone)
    (expected,) = classifier.predict(Image.open(io.BytesIO(photograph)), workers=0, device="cpu")
    app = app_of(answers_of(classifier))
    reply = ask(app, "POST", "/secret/classes", photograph)
    assert reply.headers["content-type"] == "application/json"
    assert [share for _, share in reply.json["classes"]] == pytest.approx(
        [share for _, share in expected.classes]
    )
    shown = [name for name, _ in reply.json["classes"]]
    assert sorted(shown) == ["<script>alert(1)</script>", "b\\x1b[31m"]
    assert b"LogisticRegression on fc7" in ask(app, "GET", "/secret/").body


@pytest.mark.parametrize("path", ["/", "/secre/", "/secret1/", "/Secret/", "//secret/", "/sécret/"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nothing_is_there_without_the_token(app_of: AppOf, method: str, path: str) -> None:
    app = app_of()
    reply = ask(app, method, path)
    assert reply.status == 404
    assert b"secret" not in reply.body
    assert ask(app, "GET", "/secret/").status == 200


@pytest.mark.parametrize(
    "host", ["evil.example:8000", "evil.example", "127.0.0.1", "127.0.0.1:8001", "", "LOCALHOST:1"]
)
def test_a_foreign_name_of_the_host_is_refused(app_of: AppOf, host: str) -> None:
    """Another site's name may be made to lead to this machine (DNS rebinding)."""
    app = app_of()
    reply = ask(app, "GET", "/secret/", host=host)
    assert reply.status == 403
    assert reply.json["error"].startswith("this server is 127.0.0.1:8000 or localhost:8000")
    assert ask(app, "GET", "/secret/", host="localhost:8000").status == 200


def test_the_page_of_another_site_may_ask_nothing(app_of: AppOf, photograph: bytes) -> None:
    app = app_of()
    for origin, status in (
        ("https://evil.example", 403),
        ("null", 403),
        ("http://127.0.0.1:8000", 200),
    ):
        assert ask(app, "POST", "/secret/classes", photograph, origin=origin).status == status


def test_the_page_runs_its_own_script_and_asks_no_other_host(app_of: AppOf) -> None:
    reply = ask(app_of(), "GET", "/secret/")
    page, policy = reply.body.decode(), reply.headers["content-security-policy"]
    assert not re.search(r"unsafe|http|\*", policy)
    assert policy.startswith("default-src 'none'; connect-src 'self'")
    for element in ("script", "style"):
        (content,) = re.findall(f"<{element}[^>]*>(.*?)</{element}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in policy
    assert not re.search(r"https?://|//\w|@import|\son\w+=|\sstyle=", page.replace("// ", ""))
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["x-content-type-options"] == "nosniff"


HOSTILE = {
    "nothing": (b"", "empty"),
    "text": (b"<script>alert(1)</script>" * 50, "unsupported"),
    "bomb": (blank_png(14_000), "too_large"),
    "large for its bytes": (blank_png(12_000), "too_large"),
    "header alone": (blank_png(64)[:40], "corrupt"),
    "truncated": (jpeg()[: len(jpeg()) // 2], "corrupt"),
    "of zeros": (bytes(1000), "unsupported"),
    "zip": (b"PK\x03\x04" + bytes(100), "unsupported"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_upload_has_one_clear_line(app_of: AppOf, what: str, photograph: bytes) -> None:
    data, status = HOSTILE[what]
    app = app_of()
    reply = ask(app, "POST", "/secret/classes", data)
    assert reply.status == 422
    error = reply.json["error"]
    assert error.endswith(f"({status})")
    assert error.isprintable()
    assert len(error) < 300
    assert ask(app, "POST", "/secret/classes", photograph).status == 200


@pytest.fixture
def webp(photograph: bytes) -> bytes:
    whole = io.BytesIO()
    Image.open(io.BytesIO(photograph)).save(whole, "WEBP", lossless=True)
    return whole.getvalue()


def test_what_is_not_plain_has_the_same_answer(
    app_of: AppOf, photograph: bytes, webp: bytes
) -> None:
    app = app_of()
    replies = [ask(app, "POST", "/secret/classes", data).json for data in (photograph, webp)]
    assert [each.pop("format") for each in replies] == ["PNG", "WEBP"]
    assert replies[0] == replies[1]
    reply = ask(app, "POST", "/secret/classes", webp[:2000])
    assert (reply.status, "(corrupt)" in reply.json["error"]) == (422, True)


@pytest.mark.posix("proc")
def test_what_is_not_plain_is_tried_in_a_process_of_its_own(
    app_of: AppOf, webp: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(*_: object, **__: object) -> None:
        raise AssertionError("decoded in this process")

    monkeypatch.setattr("decaf.exploration.demo.photograph.decode", decode)
    reply = ask(app_of(), "POST", "/secret/classes", webp[:2000])
    assert (reply.status, "(corrupt)" in reply.json["error"]) == (422, True)


def test_photographs_are_limited_in_bytes_and_pixels(app_of: AppOf, photograph: bytes) -> None:
    app = app_of(max_bytes=len(photograph) - 1)
    # Told in advance, told wrongly, and not told at all.
    for length in (str(len(photograph)), "7", "-7", ""):
        reply = ask(app, "POST", "/secret/classes", photograph, content_length=length)
        told = f"the photograph has more than {byte_size(len(photograph) - 1)}"
        assert (reply.status, reply.json["error"]) == (413, told)
    app = app_of(max_bytes=len(photograph))
    assert ask(app, "POST", "/secret/classes", photograph).status == 200
    reply = ask(app_of(max_pixels=70 * 90 - 1), "POST", "/secret/classes", photograph)
    assert reply.status == 422
    assert "6299 pixels is the limit" in reply.json["error"]


class Slow:
    """A question that is answered when it is let."""

    def __init__(self, answers: Answers) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.at_once = self.most = 0
        answers.questions["classes"] = self

    def __call__(self, _: Photograph) -> dict[str, Any]:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        self.begun.set()
        assert self.go_on.wait(60)
        self.at_once -= 1
        return {}


def test_an_answer_that_takes_too_long_is_given_up(
    app_of: AppOf, answers_of: AnswersOf, photograph: bytes
) -> None:
    answers = answers_of()
    slow = Slow(answers)
    app = app_of(answers, seconds=0.05)
    reply = ask(app, "POST", "/secret/classes", photograph)
    assert (reply.status, reply.json["error"]) == (504, "no answer within 0.05 s")
    slow.go_on.set()


def test_a_photograph_that_does_not_come_is_given_up(app_of: AppOf) -> None:
    async def nothing() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    reply = asyncio.run(ask_async(app_of(seconds=0.05), "POST", "/secret/classes", nothing()))
    assert (reply.status, reply.json["error"]) == (408, "the photograph took over 0.05 s to come")


def test_requests_are_answered_one_after_the_other_and_few_wait(
    app_of: AppOf, answers_of: AnswersOf, photograph: bytes
) -> None:
    answers = answers_of()
    slow = Slow(answers)
    app = app_of(answers, max_waiting=3)

    async def together() -> list[int]:
        def request() -> asyncio.Task[Any]:
            return asyncio.create_task(ask_async(app, "POST", "/secret/classes", [photograph]))

        tasks = [request() for _ in range(3)]
        await asyncio.to_thread(slow.begun.wait, 60)
        late = await request()
        assert late.json["error"] == "3 requests are waiting; try again later"
        slow.go_on.set()
        return [late.status, *[each.status for each in await asyncio.gather(*tasks)]]

    assert asyncio.run(together()) == [503, 200, 200, 200]
    assert slow.most == 1
    assert ask(app, "POST", "/secret/classes", photograph).status == 200


def test_a_defect_is_told_in_a_line(
    app_of: AppOf, answers_of: AnswersOf, photograph: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    answers = answers_of()

    def wrong(_: Photograph) -> dict[str, Any]:
        raise ZeroDivisionError("inside")

    answers.questions["classes"] = wrong
    reply = ask(app_of(answers), "POST", "/secret/classes", photograph)
    assert reply.status == 500
    assert "inside" not in reply.json["error"]
    assert "ZeroDivisionError: inside" in caplog.text


def test_there_are_no_other_questions_and_methods(app_of: AppOf, photograph: bytes) -> None:
    app = app_of()
    assert ask(app, "POST", "/secret/__init__", photograph).status == 404
    assert ask(app, "POST", "/secret/classes/more", photograph).status == 404
    assert ask(app, "GET", "/secret/classes").status == 405
    assert ask(app, "POST", "/secret/", photograph).status in (404, 405)


def test_settings_that_cannot_be_used_are_told_together() -> None:
    with pytest.raises(decaf.SettingError, match=r"`port` 70000.*`top` 0.*`max_waiting` 0"):
        DemoSettings(port=70_000, top=0, max_waiting=0)
    with pytest.raises(decaf.SettingError, match="`seconds`"):
        DemoSettings(seconds=0.0)
