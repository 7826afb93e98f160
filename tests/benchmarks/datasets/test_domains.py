"""Domains on disk: official layouts, excerpts, and what is wrong with them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from datasets.domains import OFFICE31_CLASSES, read_domains
from decaf.errors import InputError, SettingError

PACS = ("art_painting", "cartoon", "photo", "sketch")


def folders(root: Path, counts: Mapping[str, int], classes: tuple[str, ...]) -> Path:
    """Make empty files: nothing is opened while they are listed."""
    for domain, count in counts.items():
        for number in range(count):
            file = root / domain / classes[number % len(classes)] / f"frame_{number:04}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    return root


def test_office31_in_its_official_layout(tmp_path: Path) -> None:
    counts = {"amazon/images": 2817, "dslr/images": 498, "webcam/images": 795}
    root = folders(tmp_path / "office", counts, OFFICE31_CLASSES)
    for place in (root, root.parent):  # or the folder above it
        result = read_domains(place)
        assert result.name == "Office-31"
        assert result.domains == ("amazon", "dslr", "webcam")
        assert [len(result.rows_of(domain)) for domain in result.domains] == [2817, 498, 795]
        assert result.class_names == OFFICE31_CLASSES
        assert result.source_per_class == {"amazon": 20, "dslr": 8, "webcam": 8}
        assert result.notes == ()
    assert result.names[0].startswith(b"amazon/back_pack/frame_")
    assert all(os.path.isfile(path) for path in result.files)
    assert len(result.pairs) == 6


def test_an_excerpt_is_refused_and_says_where_to_get_the_whole(tmp_path: Path) -> None:
    counts = {"amazon/images": 2817, "dslr/images": 497, "webcam/images": 795}
    folders(tmp_path, counts, OFFICE31_CLASSES)
    with pytest.raises(
        InputError, match=r"not the whole of Office-31: dslr has 497 images, expected 498\. Get it"
    ):
        read_domains(tmp_path)
    result = read_domains(tmp_path, allow_partial=True)
    assert result.notes == ("an excerpt of Office-31: 3 of 3 domains, 4,109 of 4,110 images",)


def test_office31_without_a_class(tmp_path: Path) -> None:
    counts = {"amazon": 2817, "dslr": 498, "webcam": 795}
    folders(tmp_path, counts, OFFICE31_CLASSES[1:])
    with pytest.raises(InputError, match="no domain has images of back_pack; get it anew from"):
        read_domains(tmp_path)


def test_pacs_is_known_by_its_folders(tmp_path: Path) -> None:
    classes = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")
    folders(tmp_path, dict.fromkeys(PACS, 14), classes)
    result = read_domains(tmp_path, allow_partial=True)
    assert result.name == "PACS"
    assert len(result.pairs) == 12
    with pytest.raises(InputError, match="art_painting has 14 images, expected 2048"):
        read_domains(tmp_path)


def test_any_folder_of_domains(tmp_path: Path) -> None:
    folders(tmp_path / "seasons", {"summer": 6, "winter": 4}, ("oak", "pine"))
    result = read_domains(tmp_path / "seasons")
    assert result.name == "seasons"
    assert result.domains == ("summer", "winter")
    assert result.counts_of("summer").tolist() == [3, 3]
    assert result.domain_of.tolist() == [0] * 6 + [1] * 4


def test_domains_with_different_classes(tmp_path: Path) -> None:
    folders(tmp_path, {"summer": 6, "winter": 6}, ("oak", "pine"))
    folders(tmp_path, {"winter": 2}, ("elm", "fir"))
    with pytest.raises(InputError) as caught:
        read_domains(tmp_path)
    assert "the domains differ in their classes: summer has no image of elm, fir." in str(
        caught.value
    )


def test_one_domain_alone(tmp_path: Path) -> None:
    folders(tmp_path, {"summer": 6}, ("oak", "pine"))
    with pytest.raises(InputError, match=r"one domain alone \('summer'\); adaptation takes two"):
        read_domains(tmp_path)


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        ("office", "no Office-31 here: expected the folders amazon/images"),
        ("pacs", "no PACS here: .*get it from https://domaingeneralization"),
        ("folders", "no class folders; expected a folder for each domain"),
    ],
)
def test_something_else(tmp_path: Path, protocol: str, message: str) -> None:
    folders(tmp_path, {".": 4}, ("oak", "pine"))
    with pytest.raises(InputError, match=message):
        read_domains(tmp_path, protocol)


def test_a_domain_of_empty_folders(tmp_path: Path) -> None:
    folders(tmp_path, {"summer": 4}, ("oak", "pine"))
    (tmp_path / "winter" / "oak").mkdir(parents=True)
    with pytest.raises(InputError, match=r"no images in .*winter"):
        read_domains(tmp_path)


def test_an_unknown_protocol(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="protocol 'digits' is not one of auto, office, pacs"):
        read_domains(tmp_path, "digits")


def test_leaving_images_out_keeps_the_classes_closed(tmp_path: Path) -> None:
    folders(tmp_path, {"summer": 4, "winter": 2}, ("oak", "pine"))
    result = read_domains(tmp_path)
    assert len(result.take([0, 1, 2, 3, 4, 5])) == 6
    assert result.take([0, 2, 3, 4, 5], "less").notes == ("less",)
    with pytest.raises(InputError, match="winter has no image of pine"):
        result.take([0, 1, 2, 3, 4])
