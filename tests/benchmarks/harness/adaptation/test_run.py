"""The benchmark from domains to its report."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from threadpoolctl import threadpool_info, threadpool_limits

from datasets.domains import read_domains
from datasets.feature_folder import read_feature_folder
from datasets.ready_features import ReadyFeatures
from decaf.errors import InputError, SettingError, Stopped
from decaf.exploration.page import Scatter, Table
from harness import adaptation
from harness.adaptation import AdaptationSettings
from harness.adaptation.methods import methods_of
from harness.protocol.run import BenchmarkRun
from report import BenchmarkReport, load_report, write_report

FEW = methods_of(["svm-s", "svm-st", "gfk-1nn"])


@pytest.fixture(scope="module")
def ready(
    tmp_path_factory: pytest.TempPathFactory, make_domains: Any, make_features: Any
) -> tuple[ReadyFeatures, ...]:
    """Return features of three domains and two kinds, by way of files."""
    folder = tmp_path_factory.mktemp("features")
    domains = make_domains(("amazon", "dslr", "webcam"), 12)
    for kind, width in (("decaf", 8), ("SURF", 6)):
        rows = np.abs(make_features(domains, width))
        for domain in domains.domains:
            own = domains.rows_of(domain)
            content = {"fts": rows[own], "labels": 1 + domains.labels[own][:, None]}
            savemat(folder / f"{domain}_{kind}.mat", content)
    return read_feature_folder(folder)


def run_adaptation(
    data: Any, settings: AdaptationSettings, out: Path, **more: Any
) -> BenchmarkReport:
    return adaptation.run_adaptation(data, BenchmarkRun(settings, out, **more))


def settings(tmp_path: Path, **more: Any) -> AdaptationSettings:
    given: dict[str, Any] = {
        "name": "da",
        "methods": FEW,
        "layers": (),
        "source_per_class": 8,
        "splits": 2,
        "C": 1.0,
        "cache": tmp_path / "cache",
    }
    return AdaptationSettings(**{**given, **more})


@pytest.mark.slow
def test_ready_features_become_a_report(tmp_path: Path, ready: tuple[ReadyFeatures, ...]) -> None:
    told: list[str] = []
    report = run_adaptation(ready, settings(tmp_path), tmp_path / "out", tell=told.append)
    titles = [part.title for part in report.sections]
    assert titles[:2] == [
        "Mean over 6 pairs, 3 labelled target images a class",
        "Mean over 6 pairs, no labelled target images",
    ]
    supervised, unsupervised = report.sections[:2]
    assert isinstance(supervised, Table)
    assert isinstance(unsupervised, Table)
    assert [column.name for column in supervised.columns] == ["SURF", "decaf"]
    assert [row.name for row in supervised.rows] == [method.name for method in FEW]
    assert len(unsupervised.rows) == 2  # the head on source and target needs labels
    assert sum(part.title.startswith("amazon → webcam, ") for part in report.appendix) == 2
    assert "Gain over SVM (S) by pair, decaf, unsupervised" in titles
    assert sum(isinstance(part, Scatter) for part in report.sections) == 1
    assert report.headline.startswith("6 pairs, SURF, supervised: SVM (S) ")
    assert "8 labelled source images a class" in report.what
    fits = 6 * 2 * (len(supervised.rows) + len(unsupervised.rows))
    assert sum(f"/{fits} " in line for line in told) == 2 * fits

    files = write_report(report, tmp_path / "out")
    assert "da-scatter.svg" in [file.name for file in files]
    assert load_report(tmp_path / "out" / "da.json") == report
    assert {file.name for file in (tmp_path / "out").iterdir()} >= {
        "da-splits-SURF.json",
        "da-splits-decaf.json",
    }

    told.clear()
    again = run_adaptation(ready, settings(tmp_path), tmp_path / "out", tell=told.append)
    assert again.sections == report.sections
    assert all("from the cache" in line for line in told[1:])


@pytest.mark.parametrize(("name", "beside"), [("Office-31", True), ("Office-Caltech-10", False)])
def test_the_papers_numbers_stand_beside_its_own_pair_alone(
    tmp_path: Path, make_domains: Any, make_features: Any, name: str, beside: bool
) -> None:
    domains = make_domains(("amazon", "webcam"), name=name)
    ready = (ReadyFeatures("fc6", domains, make_features(domains), "f"),)
    report = run_adaptation(ready, settings(tmp_path, splits=1), tmp_path / "out")
    sources = {
        part.title: [column.source for column in part.columns if column.source]
        for part in report.sections
        if isinstance(part, Table)
    }
    paper = sources.pop("amazon → webcam, 3 labelled target images a class")
    assert bool(paper) == beside
    assert not any(sources.values())


@pytest.mark.slow
def test_splits_can_be_given_back(tmp_path: Path, ready: tuple[ReadyFeatures, ...]) -> None:
    one = settings(tmp_path, layers=("decaf",), seed=3, pairs=(("amazon", "webcam"),))
    first = run_adaptation(ready, one, tmp_path / "out")
    manifest = tmp_path / "out" / "da-splits.json"
    given = replace(one, splits=manifest, cache=tmp_path / "other", name="again")
    second = run_adaptation(ready, given, tmp_path / "out")
    assert second.sections[0] == first.sections[0]
    assert [s.sha256 for s in second.splits] != []
    then, now = (
        json.loads((tmp_path / "out" / f"{name}-splits.json").read_bytes())["splits"]
        for name in ("da", "again")
    )
    assert then == now
    with pytest.raises(SettingError, match="a manifest of splits is of one kind of features"):
        run_adaptation(ready, replace(given, layers=()), tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": ("fc6",)}, "features fc6: there are SURF, decaf"),
        ({"pairs": (("amazon", "caltech"),)}, "pairs amazon:caltech: expected two different of"),
        ({"pairs": (("dslr", "dslr"),)}, "pairs dslr:dslr: expected two different of amazon, dslr"),
        ({"source_per_class": 13}, "amazon has 12 images of class 01, and as the source 13 are"),
    ],
)
def test_what_cannot_be_measured(
    tmp_path: Path, ready: tuple[ReadyFeatures, ...], change: dict[str, Any], message: str
) -> None:
    with pytest.raises((InputError, SettingError), match=message):
        run_adaptation(ready, settings(tmp_path, **change), tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": ()}, "no methods asked for"),
        ({"settings": ("half",)}, "setting 'half' is not one of supervised, unsupervised"),
        ({"C": 0.0}, "C 0.0: must be a number above 0, or 'cv'"),
        ({"C": "best"}, "C 'best': must be a number above 0"),
    ],
)
def test_settings_that_cannot_be(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        AdaptationSettings(name="da", **change)


def blas_threads() -> int:
    pools = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    return max(pools, default=1)


@pytest.mark.slow
def test_fits_leave_half_of_the_cores(tmp_path: Path, ready: tuple[ReadyFeatures, ...]) -> None:
    seen: list[int] = []

    def tell(line: str) -> None:
        if "% right" in line:
            seen.append(blas_threads())

    with threadpool_limits(4, "blas"):
        run_adaptation(ready, settings(tmp_path), tmp_path / "out", tell=tell)
        assert blas_threads() == 4
    assert set(seen) == {2}


@pytest.mark.slow
def test_a_stopped_run_goes_on(tmp_path: Path, ready: tuple[ReadyFeatures, ...]) -> None:
    stop = threading.Event()
    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)
        if line.startswith("2/"):
            stop.set()

    with pytest.raises(Stopped):
        run_adaptation(ready, settings(tmp_path), tmp_path / "out", tell=tell, stop=stop)
    told.clear()
    run_adaptation(ready, settings(tmp_path), tmp_path / "out", tell=told.append)
    fits = [line for line in told if "% right" in line]
    assert [("from the cache" in line) for line in fits[:3]] == [True, True, False]


@pytest.mark.slow
def test_images(tmp_path: Path, images: list[np.ndarray], labels: np.ndarray) -> None:
    """Of two domains one image cannot be read, and one is a copy of the other domain's."""
    root = tmp_path / "animals"
    for domain, shade in (("bright", 1.0), ("dark", 0.5)):
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            file = root / domain / f"class {label}" / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image * shade).astype(np.uint8)).save(file)
    (root / "dark" / "class 0" / "0.png").write_bytes(b"no image")
    twin = root / "dark" / "class 1" / "twin.png"
    twin.write_bytes((root / "bright" / "class 1" / "4.png").read_bytes())
    report = run_adaptation(
        read_domains(root),
        settings(
            tmp_path,
            layers=("fc6",),
            weights=("random:0:alexnet-64",),
            source_per_class=4,
            target_per_class=1,
            take_fewer=True,
            device="cpu",
            workers=0,
            splits=1,
        ),
        tmp_path / "out",
    )
    assert (
        "1 of 57 images could not be read and were left out; the first is dark/class 0/0.png"
        in (report.notes[0])
    )
    assert (
        "classes with fewer images than are taken of a source give all they have: dark: class 0 (3)"
        in (report.notes[1])
    )
    assert "1 test images of a split are copies, byte for byte" in report.notes[2]
    assert report.splits[0].name == "split 0, bright"
    assert (report.splits[0].n_train, report.splits[0].n_test) == (28, 21)
    assert (report.splits[1].n_train, report.splits[1].n_test) == (27, 21)
