"""A part set is proved: every part is read, and sampled rows are computed anew."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

import made_shards
from decaf.errors import FeatureFileError, SettingError, WeightsError
from decaf.features.verify import Verification, verify
from decaf.scale import ShardStatus, verify_parts
from decaf.scale.parts_verification import _draw
from decaf.storage import fingerprint
from made_shards import samples_of, tar_bytes


@pytest.fixture
def copied(shards: Path, extract: Callable[..., ShardStatus], tmp_path: Path) -> Path:
    """A part set of shards of its own, both of which may be changed."""
    folder = made_shards.write_shards(tmp_path / "in")
    extract(f"{folder}/*.tar", tmp_path / "parts", format="h5")
    return tmp_path / "parts"


def test_all_rows_agree(made: Path, network: str) -> None:
    result = verify_parts(made, rows=100, weights=network, progress=False)
    assert result.ok
    assert (result.parts, result.rows, result.compared) == (3, 15, 12)
    assert (result.missing, result.unavailable, result.notes) == ((), {}, [])
    assert set(result.worst) == {"fc7", "pool5"}


def test_rows_of_parts_that_were_exchanged_are_found(
    made: Path, network: str, tmp_path: Path
) -> None:
    """Both parts are sound in themselves; only computing anew tells that they are of others."""
    shutil.copytree(made, tmp_path / "parts")
    first, second = (next((tmp_path / "parts").glob(f"{n}-*.parquet")) for n in ("000", "001"))
    data = first.read_bytes(), second.read_bytes()
    first.write_bytes(data[1])
    second.write_bytes(data[0])
    result = verify_parts(tmp_path / "parts", rows=100, weights=network, progress=False)
    told = {**result.unavailable, **result.damaged}
    assert set(told) == {first.name, second.name}
    assert "the image has changed since" in str(result.unavailable) or result.damaged


def test_damage_is_named_by_its_part(copied: Path, network: str) -> None:
    part = next(copied.glob("001-*.h5"))
    data = bytearray(part.read_bytes())
    data[-400] ^= 1
    data[len(data) // 2] ^= 64
    part.write_bytes(data)
    result = verify_parts(copied, rows=0, progress=False)
    assert not result.ok
    assert list(result.damaged) == [part.name]
    part.write_bytes(data[:-10])
    (told,) = verify_parts(copied, rows=0, progress=False).damaged.values()
    assert "bytes, its record says" in told


def test_a_changed_field_of_run_json_is_named(copied: Path) -> None:
    """Whether its fingerprint is left alone, or is made to agree."""
    path = copied / "run.json"
    body = json.loads(path.read_bytes())
    for field in ("crops", "dtype", "layers", "precision", "weights"):
        run = {**body["run"], field: "other"}
        for fingerprint_of in (body["run"], run):
            changed = {**body, "run": run, "fingerprint": fingerprint(fingerprint_of)}
            path.write_text(json.dumps(changed))
            with pytest.raises(FeatureFileError, match=rf"run\.json: .*not what was .*run/{field}"):
                verify_parts(copied, rows=0, progress=False)
    for field in ("part_format", "created", "decaf_version"):
        path.write_text(json.dumps({**body, field: "other"}))
        with pytest.raises(FeatureFileError, match=rf"run\.json: .*not what was .*{field}"):
            verify_parts(copied, rows=0, progress=False)
    for field in set(body) - {"attributes"}:
        path.write_text(json.dumps({name: body[name] for name in body if name != field}))
        with pytest.raises(FeatureFileError, match=rf"run\.json: .*{field}"):
            verify_parts(copied, rows=0, progress=False)
    del body["attributes"]  # as early versions wrote it
    path.write_text(json.dumps(body))
    assert verify_parts(copied, rows=0, progress=False).ok


def test_a_changed_field_in_the_metadata_of_parquet_is_named(made: Path, tmp_path: Path) -> None:
    (part,) = made.glob("001-*.parquet")
    table = pyarrow.parquet.read_table(part)
    stored = pyarrow.parquet.read_metadata(part).metadata.items()
    metadata = {k.decode(): v.decode() for k, v in stored if k != b"ARROW:schema"}
    run, environment = json.loads(metadata["run"]), json.loads(metadata["environment"])
    path = tmp_path / "part.parquet"

    def verified(**changed: object) -> Verification:
        texts = {
            key: value if key == "created" else json.dumps(value) for key, value in changed.items()
        }
        if "run" in changed:
            texts["fingerprint"] = fingerprint(changed["run"])
        pyarrow.parquet.write_table(table.replace_schema_metadata({**metadata, **texts}), path)
        return verify(path, rows=0)

    assert verified().ok
    assert verified(run={**run, "crops": "ten"}).changed == ["run/crops"]
    assert verified(environment={**environment, "device": "x"}).changed == ["environment/device"]
    assert verified(created="never").changed == ["created"]
    assert verified(unit="pixels").changed == ["unit"]
    shapes = json.loads(metadata["shapes"])
    shapes["pool5"] = shapes["pool5"][::-1]
    assert verified(shapes=shapes).changed == ["shapes/pool5"]


def test_a_shard_that_has_changed_is_not_compared(
    copied: Path, network: str, tmp_path: Path
) -> None:
    (tmp_path / "in/002.tar").write_bytes(tar_bytes(samples_of(5)))
    result = verify_parts(copied, rows=100, weights=network, progress=False)
    assert result.ok
    assert result.compared == 8
    ((name, reason),) = result.unavailable.items()
    assert name.startswith("002-")
    assert "changed since it was listed" in reason


def test_missing_parts_are_told(copied: Path) -> None:
    next(copied.glob("001-*.h5")).unlink()
    with pytest.warns(UserWarning, match="1 of 3 parts are not there"):
        result = verify_parts(copied, rows=0, progress=False)
    assert [name.rpartition("/")[2] for name in result.missing] == ["001.tar"]


def test_other_weights_are_refused(copied: Path) -> None:
    with pytest.raises(WeightsError, match="these are random:0:alexnet-64"):
        verify_parts(copied, weights="random:0:alexnet-64", progress=False)


def test_no_part_set_and_wrong_numbers_are_refused(copied: Path) -> None:
    with pytest.raises(SettingError, match="`rows` -1: must be 0 or more"):
        verify_parts(copied, rows=-1)


def test_the_draw_is_of_all_rows_alike() -> None:
    rows = np.array([10, 0, 1000, 90])
    drawn = np.array([_draw(rows, 110, seed) for seed in range(300)])
    assert (drawn.sum(axis=1) == 110).all()
    np.testing.assert_allclose(drawn.mean(axis=0), [1, 0, 100, 9], rtol=0.15)
    assert _draw(rows, 5000, 0).tolist() == rows.tolist()
