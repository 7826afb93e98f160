"""The smallest member of the family, and ``decaf`` with it: ``tiny_network.py train PACK …``.

Under the name ``tiny`` it stands beside those that decaf has, for tests in this process and, where
this file is run, in others.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from types import MappingProxyType

import torch

from decaf.backbone import spec as specs
from decaf.backbone.spec import ArchSpec, ConvSpec
from decaf.train import train_network

TINY = ArchSpec(
    name="tiny",
    input_size=32,
    convs=(
        ConvSpec(8, 5, stride=1, padding=2),
        ConvSpec(12, 3, padding=1),
        ConvSpec(16, 3, padding=1),
        ConvSpec(16, 3, padding=1),
        ConvSpec(12, 3, padding=1),
    ),
    hidden=(24, 20),
    classes=4,
)
# With all that the paper's has: groups, LRN, dropout behind the activation.
TINY_2012 = replace(
    TINY,
    name="tiny-2012",
    convs=(*TINY.convs[:1], replace(TINY.convs[1], groups=2), *TINY.convs[2:]),
    lrn=specs.LRNSpec(),
)
# Pools adaptively, so that it takes images of any size.
TINY_ADAPTIVE = replace(TINY, name="tiny-adaptive", adaptive_pool=2)


def install() -> None:
    """Let settings name them."""
    known = {
        **specs.ARCHITECTURES,
        **{each.name: each for each in (TINY, TINY_2012, TINY_ADAPTIVE)},
    }
    specs.ARCHITECTURES = MappingProxyType(known)


if __name__ == "__main__":
    install()
    if "CURVES" not in os.environ:  # matplotlib takes longer than such a run
        train_network.draw_curves = lambda *_: None
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    from decaf.cli.main import main
    from decaf.train.distillation import answer_cache

    answer_cache.SHARD_IMAGES = int(os.environ.get("SHARD_IMAGES", answer_cache.SHARD_IMAGES))

    sys.exit(main())
