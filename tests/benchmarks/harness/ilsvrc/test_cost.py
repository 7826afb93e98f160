"""What ImageNet takes: hours by hand, and commands that train what the benchmark would."""

from __future__ import annotations

import argparse
import re
import shlex

import pytest

from decaf.cli.arguments import setting_values
from decaf.cli.train import configure
from decaf.train import TrainSettings, preset
from harness.ilsvrc.cost import on_imagenet, work_of_an_image
from harness.ilsvrc.networks import ImageNetSettings, plan

SUM = re.compile(r"\$\(\(k [+-] \d+\)\)")


def settings(**changes: object) -> ImageNetSettings:
    fields: dict[str, object] = {
        "pack": "imagenet.pack",
        "larger": "larger.pack",
        "recipe": preset("alexnet-2012"),
    }
    return ImageNetSettings(name="n", layers=("fc7",), **{**fields, **changes})


def test_the_hours_of_the_papers_recipe() -> None:
    text = on_imagenet(settings(), 1000, 1000.0).text
    # 1,281,167 images, 90 times, at 1,000 a second.
    assert "took 128 ms here, 1,000 images/s" in text
    assert "One network is 32 hours of this machine" in text
    assert "ILSVRC-2012 alone are 160." in text


def test_other_networks_are_reckoned_by_their_work() -> None:
    small = preset("alexnet-2012", arch="alexnet", crop="resized", train_size=128)
    factor = work_of_an_image(preset("alexnet-2012"), 1000) / work_of_an_image(small, 10)
    # Its maps at 128 pixels are 31, 15, 7 by the sums of the convolutions: 64 filters of 11 × 11 on
    # 31 × 31, 192 of 5 × 5 on 15 × 15, then 384, 256 and 256 of 3 × 3 on 7 × 7; fc6 sees 6 × 6.
    maps = 64 * 3 * 121 * 31**2 + 192 * 64 * 25 * 15**2
    maps += (384 * 192 + 256 * 384 + 256 * 256) * 9 * 7**2
    work = maps + 9216 * 4096 + 4096 * 4096 + 4096 * 10
    assert work_of_an_image(small, 10) == work
    whole = 105_415_200 + 223_948_800 + 149_520_384 + 112_140_288 + 74_760_192
    assert factor == (whole + 37_748_736 + 16_777_216 + 4_096_000) / work
    text = on_imagenet(settings(recipe=small), 10, 500.0).text
    hours = 1_281_167 * 90 * factor / 500 / 3600
    assert f"one network is {hours:,.0f} hours" in text


def test_nothing_is_said_of_steps_that_nobody_measured() -> None:
    assert "hours" not in on_imagenet(settings(), 1000, None).text


@pytest.mark.parametrize(
    ("networks", "pretrained", "name"), [(5, 2, "alexnet-2012"), (3, 1, "modern")]
)
def test_the_commands_train_what_the_benchmark_would(
    networks: int, pretrained: int, name: str
) -> None:
    asked = settings(recipe=preset(name), networks=networks, pretrained=pretrained)
    text = on_imagenet(asked, 1000, None).commands.replace("\\\n", " ")
    parser = argparse.ArgumentParser()
    configure(parser)
    trained = {}
    for count, loop in re.findall(r"for k in \$\(seq (\d+)\); do\n(.*?)\ndone", text, re.DOTALL):
        for k in range(1, int(count) + 1):
            for line in loop.splitlines():
                # As a shell has it: $((k - 1)) is a sum, $k is k.
                sums = {each: str(eval(each[3:-2], {"k": k})) for each in SUM.findall(line)}
                seeded = SUM.sub(lambda found, sums=sums: sums[found[0]], line)
                words = shlex.split(seeded.replace("$k", str(k)))
                assert words[:5] == ["torchrun", "--nproc-per-node", "8", "-m", "decaf"]
                args = parser.parse_args(words[6:])
                assert args.resume
                values = setting_values(args, TrainSettings, ("preset",))
                begun = args.init_from and args.init_from.split("/")[-2]
                folder = args.out.removeprefix("tables/networks/")
                trained[folder] = (args.pack, preset(args.preset, **values), begun)
    wanted = {each.name: (each.pack, each.settings, each.begins_as) for each in plan(asked)}
    assert trained == wanted
    last = text.splitlines()[-1]
    assert last.startswith(
        "python benchmarks/imagenet.py imagenet.pack --out tables --pretrain larger.pack"
    )
    assert ("--networks 3 --pretrained 1" in last) == (networks == 3)
    assert ("--preset modern" in last) == (name == "modern")
