"""The contenders of `extraction.py`: ways of turning a folder of photographs into fc6 features.

Run as ``python contenders.py NAME FOLDER WEIGHTS OUT``, in a process of its own, so that imports
and memory count. The last line printed is JSON: seconds spent importing, seconds of the work from
there on (loading the network, decoding, computing and writing included), the peak memory, and for
decaf the images/s once it runs. OUT receives the features as a .npy file, or for decaf as a feature
file.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

BATCH = 32


@dataclass
class Times:
    """The times of a contender.

    Attributes
    ----------
    began : float
        Time at which the work began, by `time.perf_counter`.
    running : float, optional
        Images a second once it ran.
    """

    began: float
    running: float | None = None


def decaf_fp32(folder: Path, weights: Path, out: Path) -> Times:
    """decaf, float32.

    Parameters
    ----------
    folder : Path
        Photographs.
    weights : Path
        File of weights.
    out : Path
        File to write.
    """
    return _decaf(folder, weights, out, "fp32")


def decaf_bf16(folder: Path, weights: Path, out: Path) -> Times:
    """decaf, bfloat16.

    Parameters
    ----------
    folder, weights, out
        As in `decaf_fp32`.
    """
    return _decaf(folder, weights, out, "bf16")


def decaf_memory(folder: Path, weights: Path, out: Path) -> Times:
    """decaf, float32, keeping the rows in memory: the difference is the cost of writing.

    Parameters
    ----------
    folder, weights, out
        As in `decaf_fp32`; nothing is written.
    """
    return _decaf(folder, weights, None, "fp32")


def _decaf(folder: Path, weights: Path, out: Path | None, precision: str) -> Times:
    import torch  # noqa: F401  (counted as import, as it is for the others)

    import decaf

    told: list[tuple[float, int]] = []

    def progress(done: int, _total: int) -> None:
        told.append((time.perf_counter(), done))

    began = time.perf_counter()
    decaf.extract(
        folder,
        "fc6",
        out=out,
        weights=weights,
        precision=precision,
        batch_size=BATCH,
        progress=progress,
    )
    # From the first rows on, when the decoders have started and both threads are at work.
    (first, before), (last, after) = told[2], told[-1]
    return Times(began, (after - before) / (last - first))


def plain_loop(folder: Path, weights: Path, out: Path) -> Times:
    """Pillow, torchvision's transforms and create_feature_extractor, one array saved at the end.

    Parameters
    ----------
    folder, weights, out
        As in `decaf_fp32`.
    """
    import numpy as np
    import torch
    from PIL import Image
    from torchvision.models import AlexNet_Weights, alexnet
    from torchvision.models.feature_extraction import create_feature_extractor

    began = time.perf_counter()
    model = alexnet(weights=None)
    model.load_state_dict(torch.load(weights, weights_only=True))
    extractor = create_feature_extractor(model.eval(), {"classifier.2": "fc6"})
    preprocess = AlexNet_Weights.IMAGENET1K_V1.transforms()
    paths = sorted(folder.iterdir())
    rows = []
    with torch.inference_mode():
        for start in range(0, len(paths), BATCH):
            images = [
                preprocess(Image.open(p).convert("RGB")) for p in paths[start : start + BATCH]
            ]
            rows.append(extractor(torch.stack(images))["fc6"].numpy())
    np.save(out, np.concatenate(rows))
    return Times(began)


def thingsvision(folder: Path, weights: Path, out: Path) -> Times:
    """thingsvision as its documentation shows it.

    Parameters
    ----------
    folder, weights, out
        As in `decaf_fp32`.
    """
    import numpy as np
    import torch
    from thingsvision import get_extractor
    from thingsvision.utils.data import DataLoader, ImageDataset

    began = time.perf_counter()
    extractor = get_extractor("alexnet", source="torchvision", device="cpu", pretrained=False)
    extractor.model.load_state_dict(torch.load(weights))
    dataset = ImageDataset(
        root=str(folder.parent),
        out_path=str(out.parent / "thingsvision"),
        backend="pt",
        transforms=extractor.get_transformations(resize_dim=256, crop_dim=224),
    )
    batches = DataLoader(dataset=dataset, batch_size=BATCH, backend="pt")
    rows = extractor.extract_features(
        batches=batches, module_name="classifier.2", flatten_acts=True, output_type="ndarray"
    )
    np.save(out, rows)
    return Times(began)


CONTENDERS: dict[str, Callable[[Path, Path, Path], Times]] = {
    work.__name__: work for work in (decaf_fp32, decaf_bf16, decaf_memory, plain_loop, thingsvision)
}


def peak_megabytes() -> float:
    """Return the most memory this process has held.

    Where there is /proc, from there: what getrusage tells survives an exec, and so is the parent's
    peak where that was higher.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
        return int(lines["VmHWM"].split()[0]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    name, folder, weights, out = sys.argv[1:]
    process_began = time.perf_counter()
    times = CONTENDERS[name](Path(folder), Path(weights), Path(out))
    ended = time.perf_counter()
    report = {
        "imports": times.began - process_began,
        "work": ended - times.began,
        "peak_mb": peak_megabytes(),
    }
    if times.running is not None:
        report["running"] = times.running
    print(json.dumps(report))


if __name__ == "__main__":
    main()
