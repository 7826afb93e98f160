"""Kills a training run: ``fault_probe.py PACK FOLDER KILLS``.

The run is killed KILLS times at moments of no choosing, and goes on each time; it must end as if
nothing had happened. Prints one line of JSON.

It forks a process for each try, which saves loading torch for each; it runs in a process of its
own, so that there are no threads to fork from.
"""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import systems
import tiny_network
from decaf.backbone.weights.load import load_weights
from decaf.errors import OutputError
from decaf.train import train_network as train_module
from decaf.train.presets import preset
from decaf.train.train_network import train_network


def run(pack: Path, out: Path, epochs: int) -> None:
    """Train with all that has a state, going on where there is something to go on from."""
    settings = preset(
        "modern",
        arch="tiny",
        epochs=epochs,
        batch_size=16,
        precision="fp32",
        lr=0.02,
        dropout=0.3,
        lighting=0.1,
        schedule="plateau",
        patience=1,
        warmup_epochs=0.5,
        average=0.9,
    )
    options: dict[str, Any] = {"tensorboard": False, "progress": False, "workers": 1}
    train_network(
        pack, out, settings, resume=True, checkpoint_steps=3, keep=2, log_every=2, **options
    )


def content(out: Path) -> dict[str, Any]:
    """Read all that a run leaves and that does not depend on when it was made."""
    weights = load_weights(out / "weights.safetensors")
    assert weights.provenance["finished"]
    with open(out / "log.csv", encoding="utf-8", newline="") as file:
        timed = ("images_per_second", "seconds")
        rows = [{k: v for k, v in row.items() if k not in timed} for row in csv.DictReader(file)]
    names = sorted(p.name for p in (*out.iterdir(), *(out / "checkpoints").iterdir()))
    state = {key: tensor.numpy().tobytes() for key, tensor in weights.state.items()}
    return {"state": state, "metrics": weights.metrics, "rows": rows, "names": names}


def in_child(body: Callable[[], int | None]) -> int:
    """Run something in a fork; give what it returns (below 100), or minus the signal it died of."""
    return ended(begin(body))


def begin(body: Callable[[], int | None]) -> int:
    """Start something in a fork."""
    child = os.fork()
    if child == 0:
        code = 101
        try:
            code = body() or 0
        except OutputError as error:
            text = str(error)
            code = 100
            if "\n" in text or not text.endswith("run the same command again"):
                print(text, file=sys.stderr, flush=True)
                code = 102
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)
    return child


def ended(child: int) -> int:
    """Wait for it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_at_random(pack: Path, folder: Path, kills: int) -> dict[str, Any]:
    """Kill one run again and again."""
    before = time.monotonic()
    assert in_child(lambda: run(pack, folder / "whole", 12)) == 0
    whole = time.monotonic() - before
    expected, out = content(folder / "whole"), folder / "out"
    chance, steps = random.Random(time.time_ns()), set()
    finished = 0
    for _ in range(kills):
        child = begin(lambda: run(pack, out, 12))
        time.sleep(chance.uniform(0, whole * 0.8))
        os.kill(child, systems.KILL)
        code = ended(child)
        if code == 0:
            finished += 1
            assert content(out) == expected
            shutil.rmtree(out)
            continue
        assert systems.was_killed(code), code
        steps.add(max((p.name for p in out.glob("checkpoints/step-*")), default=""))
    assert in_child(lambda: run(pack, out, 12)) == 0
    result = content(out)
    for key, value in expected.items():
        assert result[key] == value, f"other {key} after kills at {sorted(steps)}"
    return {"places": len(steps), "finished": finished}


def main() -> None:
    """Kill it."""
    pack, folder, kills = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    tiny_network.install()
    train_module.draw_curves = lambda *_: None
    # What torch loads at its first step, and takes seconds for, the forks are to find loaded.
    run(pack, folder / "first", 1)
    print(json.dumps(kill_at_random(pack, folder, kills)))


if __name__ == "__main__":
    main()
