"""Features in a pipeline of Ray: ``python examples/ray_rows.py [FOLDER]``, a folder of images."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import numpy as np

from decaf.scale import Rows

PHOTOS = Path(__file__).resolve().parents[2] / "shared/data/pacs-mini/photo"
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")


def main(folder: Path) -> None:
    """Read photographs with Ray, add their features, and say which two are nearest.

    Parameters
    ----------
    folder : Path
        Images, in folders or not.
    """
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    paths = sorted(str(path) for path in folder.rglob("*") if path.is_file())
    dataset = ray.data.read_binary_files(paths, include_paths=True)
    # An actor holds the network; several of them share the batches (`concurrency=8`).
    made = dataset.map_batches(
        Rows,
        fn_constructor_args=("fc7",),
        fn_constructor_kwargs={"image": "bytes"},
        concurrency=1,
        num_cpus=1,
        batch_size=16,
    )
    rows = sorted(made.drop_columns(["bytes"]).take_all(), key=lambda row: row["path"])
    good = [row for row in rows if row["status"] == "ok"]
    print(f"{len(rows)} images, {len(good)} readable")
    X = np.stack([row["fc7"] for row in good])
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    cosines = X @ X.T - 2 * np.eye(len(X))
    first, second = divmod(int(cosines.argmax()), len(X))
    pair = " and ".join("/".join(Path(good[n]["path"]).parts[-2:]) for n in (first, second))
    print(f"nearest: {pair}, cosine {cosines[first, second]:.3f}")
    ray.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PHOTOS)
