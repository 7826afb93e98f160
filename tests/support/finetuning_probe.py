"""Kills fine-tunings: ``finetuning_probe.py FOLDER WEIGHTS WORK KILLS``.

One run is killed KILLS times at moments of no choosing, and goes on each time; it must end with the
bits of a run that nobody disturbed. It forks a process for each try, in a process of its own, so
that there are no threads to fork from. Prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import time
from pathlib import Path

import torch

import systems
import tiny_network
import training_probe
from decaf.backbone.weights.load import load_weights
from decaf.finetuning.fine_tune import finetune
from decaf.finetuning.settings import FinetuneSettings
from decaf.train import train_network


def run(source: Path, weights: Path, out: Path, epochs: float = 20.0) -> None:
    """Fine-tune with all that has a state, going on where there is something to go on from."""
    settings = FinetuneSettings(
        epochs=epochs, lr=3e-3, batch_size=16, precision="fp32", average=0.9, head_epochs=1.0
    )
    finetune(source, out=out, weights=weights, settings=settings, resume=True, workers=0,
             checkpoint_steps=3, progress=False)  # fmt: skip


def content(out: Path) -> dict[str, object]:
    """Read what does not depend on when it was made."""
    weights = load_weights(out)
    card = [line for line in out.with_suffix(".md").read_text(encoding="utf-8").splitlines()
            if not line.startswith(("| time |", "# "))]  # fmt: skip
    names = sorted(p.name for p in out.with_name(out.stem + ".finetune").rglob("*"))
    return {"sha256": weights.sha256, "metrics": weights.metrics, "names": names,
            "card": [line.replace(out.stem, "m") for line in card]}  # fmt: skip


def main() -> None:
    """Kill it."""
    source, weights, folder = (Path(each) for each in sys.argv[1:4])
    kills = int(sys.argv[4])
    torch.set_num_threads(1)
    tiny_network.install()
    train_network.draw_curves = lambda *_: None
    # What is loaded at the first step, the forks are to find loaded.
    run(source, weights, folder / "first.safetensors", 3.0)
    before = time.monotonic()
    whole = folder / "whole.safetensors"
    assert training_probe.in_child(lambda: run(source, weights, whole)) == 0
    took = time.monotonic() - before
    expected, out = content(whole), folder / "m.safetensors"
    chance, places, finished = random.Random(time.time_ns()), set(), 0
    for _ in range(kills):
        child = training_probe.begin(lambda: run(source, weights, out))
        time.sleep(chance.uniform(0, took * 0.8))
        os.kill(child, systems.KILL)
        code = training_probe.ended(child)
        if code == 0:
            finished += 1
            assert content(out) == expected
            out.unlink()
            out.with_suffix(".md").unlink()
            shutil.rmtree(out.with_name("m.finetune"))
            continue
        assert systems.was_killed(code), code
        assert not out.with_suffix(".md").exists() or out.exists()
        steps = (out.with_name("m.finetune") / "run/checkpoints").glob("step-*")
        places.add(max((p.name for p in steps), default=""))
    assert training_probe.in_child(lambda: run(source, weights, out)) == 0
    result = content(out)
    for key, value in expected.items():
        assert result[key] == value, f"other {key} after kills at {sorted(places)}"
    print(json.dumps({"places": len(places), "finished": finished}))


if __name__ == "__main__":
    main()
