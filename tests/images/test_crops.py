"""The ten-crop against torchvision's five: the same places in the same order, then mirrored."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms import functional

from decaf.images.crops import combine_crops, crop_corners, with_mirrors


@pytest.mark.parametrize(("height", "width"), [(9, 9), (9, 12), (13, 8), (7, 7)])
def test_ten_crops_are_torchvisions_five_and_their_mirror_images(height: int, width: int) -> None:
    images = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    five = torch.stack(
        [
            image[:, top : top + 7, left : left + 7]
            for image in images
            for top, left in crop_corners(height, width, 7, ten=True)
        ]
    )
    ten = with_mirrors(five)
    assert ten.is_contiguous(memory_format=torch.channels_last)
    # Its ten_crop cuts the mirrored image, whose top left is the mirror image of the top right.
    for image, crops in zip(images, ten.unflatten(0, (2, 10)), strict=True):
        expected = torch.stack(functional.five_crop(image, [7, 7]))
        assert torch.equal(crops, torch.cat([expected, functional.hflip(expected)]))
    assert crop_corners(height, width, 7) == crop_corners(height, width, 7, ten=True)[-1:]


def test_rows_of_ten_crops_are_combined_image_by_image() -> None:
    values = torch.arange(60.0).reshape(20, 3)
    stack = values.view(2, 10, 3)
    assert torch.equal(combine_crops(values, "ten"), stack.mean(1))
    assert torch.equal(combine_crops(values, "ten-max"), stack[:, -1])
    assert torch.equal(combine_crops(values, "ten-stack"), stack)
