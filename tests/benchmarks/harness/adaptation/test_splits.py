"""Labelled images of domains: how many, whose, always the same, and back from a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.domains import DomainSet
from decaf.errors import InputError, SettingError
from harness.adaptation.splits import (
    DomainSplit,
    domain_manifest,
    draw_domain_splits,
    read_domain_splits,
)
from harness.protocol.splits import content_digest, write_splits

Make = Callable[..., DomainSet]


def same(a: DomainSplit, b: DomainSplit, domains: DomainSet) -> bool:
    return a.name == b.name and all(
        np.array_equal(getattr(a, part)[domain], getattr(b, part)[domain])
        for part in ("source", "target", "test")
        for domain in domains.domains
    )


@given(
    each=st.integers(4, 15),
    source=st.integers(1, 4),
    target=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_counts_and_disjoint_parts(
    make_domains: Make, each: int, source: int, target: int, seed: int
) -> None:
    domains = make_domains(("a", "b", "c"), each)
    labels = domains.labels
    for split in draw_domain_splits(
        domains, source_per_class=source, target_per_class=target, n_splits=2, seed=seed
    ):
        for one, other in domains.pairs:
            rows = split.of_pair(one, other)
            assert np.bincount(labels[rows.source]).tolist() == [source] * 3
            assert np.bincount(labels[rows.labelled]).tolist() == [target] * 3
            assert np.isin(rows.source, domains.rows_of(one)).all()
            # What is labelled and what is tested on are all of the target, and nothing twice.
            both = np.concatenate([rows.labelled, rows.test])
            assert sorted(both) == domains.rows_of(other).tolist()


def test_each_domain_gives_its_own_number(make_domains: Make) -> None:
    domains = make_domains(each=12)
    counts = {"amazon": 9, "webcam": 4}
    (split,) = draw_domain_splits(domains, source_per_class=counts, n_splits=1)
    assert [len(split.source[domain]) for domain in domains.domains] == [27, 12]


def test_a_split_does_not_depend_on_how_many_there_are_nor_on_the_other_domains(
    make_domains: Make,
) -> None:
    two, three = make_domains(("a", "b")), make_domains(("a", "b", "c"))
    few = draw_domain_splits(two, source_per_class=4, n_splits=2, seed=1)
    many = draw_domain_splits(three, source_per_class=4, n_splits=4, seed=1)
    for one, other in zip(few, many, strict=False):
        names = [[d.names[r] for r in s.source["b"]] for d, s in ((two, one), (three, other))]
        assert names[0] == names[1]
    assert not np.array_equal(few[0].source["a"], few[1].source["a"])
    other_seed = draw_domain_splits(two, source_per_class=4, n_splits=1, seed=2)
    assert not np.array_equal(few[0].source["a"], other_seed[0].source["a"])


def test_too_few_images_of_a_class(make_domains: Make) -> None:
    domains = make_domains(each=7)
    with pytest.raises(InputError) as caught:
        draw_domain_splits(domains, source_per_class={"amazon": 7, "webcam": 8})
    text = str(caught.value)
    assert "webcam has 7 images of ant, and as the source 8 are taken; webcam has 7 images" in text
    assert "amazon" not in text
    with pytest.raises(
        InputError, match="amazon has 7 images of ant, and as the target 7 are taken"
    ):
        draw_domain_splits(domains, source_per_class=5, target_per_class=7)
    (split,) = draw_domain_splits(domains, source_per_class=8, n_splits=1, take_fewer=True)
    assert len(split.source["webcam"]) == 7 * 3


def test_numbers_that_cannot_be(make_domains: Make) -> None:
    with pytest.raises(
        SettingError, match="webcam as the source: 0, splits: -1: must be 1 or more"
    ):
        draw_domain_splits(make_domains(), source_per_class={"amazon": 1, "webcam": 0}, n_splits=-1)


def test_a_manifest_gives_the_splits_back(make_domains: Make, tmp_path: Path) -> None:
    domains = make_domains()
    digests = {name: f"{number:016x}" for number, name in enumerate(domains.names)}
    splits = draw_domain_splits(domains, source_per_class=5)
    path = tmp_path / "splits.json"
    write_splits(path, domain_manifest(domains, splits, digests=digests, made_by="me"))
    back = read_domain_splits(path, domains, digests=digests)
    assert len(back) == 5
    assert all(same(a, b, domains) for a, b in zip(splits, back, strict=True))


def test_a_manifest_of_something_else(make_domains: Make, tmp_path: Path) -> None:
    domains = make_domains()
    path = tmp_path / "splits.json"
    splits = draw_domain_splits(domains, source_per_class=5)
    content = domain_manifest(domains, splits)

    def refused(message: str, other: DomainSet = domains, **digests: object) -> None:
        with pytest.raises(InputError, match=message):
            read_domain_splits(path, other, **digests)

    refused("No such file")
    path.write_text("{")
    refused("no splits: not JSON")
    path.write_text("[]")
    refused("expected a file that a benchmark wrote")
    write_splits(path, content)
    refused("splits of 'Office-31', and this is 'PACS'", make_domains(name="PACS"))
    refused("splits of other domains than a, b", make_domains(("a", "b")))
    refused("the images of amazon are not those .*36 then, 39 now", make_domains(each=13))
    name = domains.names[40]
    refused("the images of webcam are not those", digests={name: "00"})
    write_splits(path, {**content, "schema": 2})
    refused("schema 2 found, 1 expected")
    write_splits(path, {**content, "made_by": "you"})
    refused("was changed after it was written")


@pytest.mark.parametrize("damage", ["twice", "missing", "other domain", "empty", "all", "no list"])
def test_a_manifest_that_agrees_with_itself_and_is_wrong(
    make_domains: Make, tmp_path: Path, damage: str
) -> None:
    domains = make_domains()
    content = domain_manifest(domains, draw_domain_splits(domains, source_per_class=5))
    names = content["splits"][0]["domains"]["webcam"]
    every = [name.decode() for name in domains.names if name.startswith(b"webcam")]
    names["target"] = {
        "twice": [names["target"][0]] * 2,
        "missing": ["webcam/ant/999.jpg"],
        "other domain": ["amazon/ant/000.jpg"],
        "empty": [],
        "all": every,
        "no list": "webcam",
    }[damage]
    del content["sha256"]
    content["sha256"] = content_digest(content)
    path = tmp_path / "splits.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="each has to name labelled images of every domain"):
        read_domain_splits(path, domains)
