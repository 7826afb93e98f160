"""A folder of damaged images, through the whole extraction: no crash, no hang, no shifted row.

``DECAF_FUZZ`` sets how many are tried.
"""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import decaf

COUNT = int(os.environ.get("DECAF_FUZZ", "150"))
KINDS = [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("GIF", {}), ("WEBP", {})]


def encoded(pixels: np.ndarray, kind: str, options: dict[str, bool]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Flip bits, cut the end off, lose a piece, or spoil the header."""
    changed = bytearray(data)
    kind = rng.integers(4)
    if kind == 0:
        for at in rng.integers(0, len(changed), rng.integers(1, 20)):
            changed[at] ^= 1 << rng.integers(8)
    elif kind == 1:
        del changed[rng.integers(0, len(changed)) :]
    elif kind == 2:
        start = rng.integers(0, len(changed))
        del changed[start : start + rng.integers(1, 200)]
    else:
        changed[rng.integers(0, 32)] = rng.integers(256)
    return bytes(changed)


@pytest.mark.slow
def test_no_damaged_image_costs_more_than_its_row(tmp_path: Path) -> None:
    rng = np.random.default_rng(2014)
    weights = decaf.load_backbone("random:0:alexnet-64")
    blocks = rng.integers(0, 256, (5, 12, 15, 3), dtype=np.uint8)
    pictures = [np.kron(block, np.ones((8, 8, 1), np.uint8)) for block in blocks]
    # Lossless, so that the row of the array is the row of the file.
    good = [encoded(picture, "PNG", {}) for picture in pictures]
    expected = np.asarray(decaf.extract(np.stack(pictures), "fc6", weights=weights))
    folder = tmp_path / "images"
    folder.mkdir()
    # Four damaged ones (-1) for each good one, in no order.
    which = np.where(
        rng.random(COUNT * 5 // 4) < 0.8, -1, rng.integers(0, len(good), COUNT * 5 // 4)
    )
    digests = []
    for row, number in enumerate(which):
        kind, options = KINDS[row % len(KINDS)]
        data = (
            good[number]
            if number >= 0
            else damaged(encoded(pictures[row % len(pictures)], kind, options), rng)
        )
        (folder / f"{row:06d}.jpg").write_bytes(data)
        digests.append(hashlib.sha256(data).digest())
    with decaf.extract(
        folder, "fc6", out=tmp_path / "f.h5", weights=weights, on_error="record", workers=2
    ) as file:
        assert [Path(name).name for name in file.paths] == [
            f"{row:06d}.jpg" for row in range(len(which))
        ]
        assert [digest.tobytes() for digest in file.content_sha256] == digests
        rows, ok = file["fc6"][:], file.ok
        statuses = {file.status_names[code] for code in file.status}
        assert (np.isnan(rows).all(axis=1) == ~ok).all()
        assert np.isnan(rows).any(axis=1).sum() == (~ok).sum()
    assert ok[which >= 0].all()
    scale = np.abs(expected).max()
    np.testing.assert_allclose(
        rows[which >= 0], expected[which[which >= 0]], rtol=1e-5, atol=1e-5 * scale
    )
    assert statuses <= {"ok", "empty", "unsupported", "corrupt", "too_large"}
    assert {"ok", "corrupt"} <= statuses
