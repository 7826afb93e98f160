"""What the benchmark of domain adaptation measures, and how: made once and passed whole."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from datasets.domains import DomainSet
from decaf.backbone.weights import DEFAULT_WEIGHTS
from decaf.errors import SettingError
from harness.adaptation.methods import METHODS, MethodSettings

__all__ = ["SETTINGS", "AdaptationSettings"]

SETTINGS = ("supervised", "unsupervised")

# Labelled source images a class, where a data set says nothing else (Saenko et al. 2010, sec. 5).
SOURCE_PER_CLASS = 20


@dataclass(frozen=True)
class AdaptationSettings:
    """What the benchmark measures, and how.

    Attributes
    ----------
    name : str
        Stem of the report's files.
    methods : tuple of MethodSettings
        Rows of the tables.
    layers : tuple of str
        Columns of the tables, for each of `weights`. Of ready features the kinds to take; all when
        empty.
    weights : tuple of str
        Networks. Not looked at for ready features.
    pairs : tuple of (source, target)
        All ordered pairs when empty.
    settings : tuple of {"supervised", "unsupervised"}
        With labelled target images, or without.
    source_per_class : int, optional
        Labelled images of each class of the source; when not given, the data set's protocol says
        how many, and 20 where it does not.
    target_per_class : int
        Labelled images of each class of the target.
    take_fewer : bool
        Take what there is of a class with fewer source images. The official data of Office-31 has
        one such class, so that its protocol does so anyway.
    C : float or "cv"
        Of the heads; ``"cv"`` chooses it among the labelled training images.
    splits : int or path
        How many, or a manifest that an earlier run wrote.
    seed : int
        Of the splits that are drawn, and of the methods.
    crops, precision, device, batch_size, workers
        As `decaf.extract` takes them.
    cache : path, optional
        See `harness.protocol.feature_cache.cache_folder`.
    recompute : bool
        Fit all again, whatever an earlier run has stored.
    command : str
        For the report.
    title : str
        What its title ends in: what sets a partial run apart.
    """

    name: str
    methods: tuple[MethodSettings, ...] = METHODS
    layers: tuple[str, ...] = ("fc6", "fc7")
    weights: tuple[str, ...] = (DEFAULT_WEIGHTS,)
    pairs: tuple[tuple[str, str], ...] = ()
    settings: tuple[str, ...] = SETTINGS
    source_per_class: int | None = None
    target_per_class: int = 3
    take_fewer: bool = False
    C: float | str = "cv"
    splits: int | str | os.PathLike[str] = 5
    seed: int = 0
    crops: str = "center"
    precision: str = "fp32"
    device: str = "auto"
    batch_size: int | None = None
    workers: int | None = None
    cache: str | os.PathLike[str] | None = None
    recompute: bool = False
    command: str = ""
    title: str = ""

    def __post_init__(self) -> None:
        wrong = [
            f"no {what} asked for" for what in ("methods", "settings") if not getattr(self, what)
        ]
        wrong += [
            f"setting {each!r} is not one of {', '.join(SETTINGS)}"
            for each in self.settings
            if each not in SETTINGS
        ]
        if not (
            self.C == "cv" if isinstance(self.C, str) else math.isfinite(self.C) and self.C > 0
        ):
            wrong.append(f"C {self.C!r}: must be a number above 0, or 'cv'")
        if wrong:
            raise SettingError("; ".join(wrong))

    def methods_in(self, setting: str) -> tuple[MethodSettings, ...]:
        """Return the rows of a setting: without labels those that need them are left out."""
        return tuple(m for m in self.methods if setting == "supervised" or not m.needs_labels)

    def source_count(self, domains: DomainSet) -> dict[str, int]:
        """Return how many labelled images of each class are taken of each domain as the source."""
        given = self.source_per_class
        return {
            domain: domains.source_per_class.get(domain, SOURCE_PER_CLASS)
            if given is None
            else given
            for domain in domains.domains
        }

    def pairs_of(self, domains: DomainSet) -> tuple[tuple[str, str], ...]:
        """Return the pairs to be measured.

        Raises
        ------
        SettingError
            If one is none of the domains'.
        """
        wrong = [f"{s}:{t}" for s, t in self.pairs if (s, t) not in domains.pairs]
        if wrong:
            raise SettingError(
                f"pairs {', '.join(wrong)}: expected two different of {', '.join(domains.domains)}"
            )
        return self.pairs or domains.pairs
