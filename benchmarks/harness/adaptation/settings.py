"""The settings of the benchmark of domain adaptation: made once and passed whole."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from datasets.domains import DomainSet
from decaf.errors import SettingError
from harness.adaptation.methods import METHODS, MethodSettings
from harness.protocol.run import ProtocolSettings, same_names

__all__ = ["SETTINGS", "AdaptationSettings"]

SETTINGS = ("supervised", "unsupervised")

# Labelled source images a class, where a data set says nothing else (Saenko et al. 2010, sec. 5).
SOURCE_PER_CLASS = 20


@dataclass(frozen=True, kw_only=True)
class AdaptationSettings(ProtocolSettings):
    """The settings of the benchmark; more in `ProtocolSettings`.

    Each of `weights` has a column for each of `layers`. Of ready features these are the kinds to
    take, all of them when empty, and the weights are not looked at. The methods take the seed of
    the splits as well.

    Attributes
    ----------
    methods : tuple of MethodSettings
        Rows of the tables.
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
        Regularisation of the heads; ``"cv"`` chooses it among the labelled training images.
    """

    methods: tuple[MethodSettings, ...] = METHODS
    layers: tuple[str, ...] = ("fc6", "fc7")
    pairs: tuple[tuple[str, str], ...] = ()
    settings: tuple[str, ...] = SETTINGS
    source_per_class: int | None = None
    target_per_class: int = 3
    take_fewer: bool = False
    C: float | str = "cv"

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
        wrong += same_names(self)
        if wrong:
            raise SettingError("; ".join(wrong))

    @property
    def made_by(self) -> str:
        """How the splits come about."""
        if isinstance(self.splits, int):
            return f"drawn, seed {self.seed}"
        return f"read from {Path(self.splits).name}"

    def methods_in(self, setting: str) -> tuple[MethodSettings, ...]:
        """Return the rows of a setting: without labels those that need them are left out.

        Parameters
        ----------
        setting : {"supervised", "unsupervised"}
        """
        return tuple(m for m in self.methods if setting == "supervised" or not m.needs_labels)

    def source_count(self, domains: DomainSet) -> dict[str, int]:
        """Return how many labelled images of each class are taken of each domain as the source.

        Parameters
        ----------
        domains : DomainSet
        """
        given = self.source_per_class
        return {
            domain: domains.source_per_class.get(domain, SOURCE_PER_CLASS)
            if given is None
            else given
            for domain in domains.domains
        }

    def pairs_of(self, domains: DomainSet) -> tuple[tuple[str, str], ...]:
        """Return the pairs to be measured.

        Parameters
        ----------
        domains : DomainSet

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
