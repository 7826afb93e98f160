"""`FeatureIdentity`: the settings of an extraction that decide which features a head fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from decaf.errors import HeadError
from decaf.storage import differences, fingerprint

__all__ = ["FeatureIdentity"]


@dataclass(frozen=True)
class FeatureIdentity:
    """The settings that decide the value of a feature, and so whether a head can be used on it.

    Two identities are the same features if `weights_sha256`, `arch`, `preprocess`, `crops`, `layer`
    and `precision` are equal. What the weights are called does not count: a copy under another name
    gives the same features. Nor do the versions of torch and of the decoders, which change values
    by rounding only, so that a head outlives an upgrade; nor the type in which rows were stored,
    for the same reason. All three are kept for the reader, where they were known.

    Of features that another program has made nothing of this is known: see `is_given`.

    Attributes
    ----------
    weights_name : str
        Of given features the name of their file.
    weights_sha256 : str
        64 hexadecimal digits; empty for given features.
    arch : dict
        `decaf.backbone.spec.ArchSpec.to_dict`.
    preprocess : dict
        `decaf.images.spec.PreprocessSpec.to_dict`.
    crops : str
    layer : str
    precision : str
    dtype : str
    versions : dict of str to str
    """

    weights_name: str = field(compare=False)
    weights_sha256: str
    arch: Mapping[str, Any]
    preprocess: Mapping[str, Any]
    crops: str
    layer: str
    precision: str
    dtype: str = field(default="float32", compare=False)
    versions: Mapping[str, str] = field(default_factory=dict, compare=False)

    # Mappings have no hash.
    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def of(cls, features: Any, layer: str) -> FeatureIdentity:
        """Take the identity of one layer from a feature file or from its run record.

        Parameters
        ----------
        features : FeatureFile or mapping
            Or whatever else has a ``run``. The mapping is what `FeatureFile.run` holds, or
            `decaf.features.settings.RunSettings.record` returns.
        layer : str

        Returns
        -------
        FeatureIdentity

        Raises
        ------
        HeadError
            If the features do not have the layer, or the record is not one.
        """
        run = features if isinstance(features, Mapping) else features.run
        try:
            layers = list(run["layers"])
        except (KeyError, TypeError) as error:
            raise HeadError(f"not the record of an extraction: it lacks {error}") from None
        if layer not in layers:
            raise HeadError(f"the features have no layer {layer!r}; they have {', '.join(layers)}")
        return cls.from_dict({**run, "layer": layer})

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> FeatureIdentity:
        """Read what `to_dict` gave.

        Parameters
        ----------
        record : mapping

        Returns
        -------
        FeatureIdentity

        Raises
        ------
        HeadError
            If something is missing or of the wrong type.
        """
        try:
            weights = record["weights"]
            identity = cls(
                weights_name=weights["name"],
                weights_sha256=weights["sha256"],
                arch=record["arch"],
                preprocess=record["preprocess"],
                crops=record["crops"],
                layer=record["layer"],
                precision=record["precision"],
                dtype=record.get("dtype", "float32"),
                versions=record.get("versions", {}),
            )
        except (KeyError, TypeError) as error:
            raise HeadError(f"not the identity of features: it lacks {error}") from None
        for name, value in vars(identity).items():
            if name in ("arch", "preprocess", "versions"):
                if not isinstance(value, Mapping):
                    raise HeadError(f"not the identity of features: {name} is not a mapping")
            elif not isinstance(value, str):
                raise HeadError(f"not the identity of features: {name} is not a text")
        return identity

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON values.

        Returns
        -------
        dict
        """
        weights = {"name": self.weights_name, "sha256": self.weights_sha256}
        rest = {"dtype": self.dtype, "versions": dict(self.versions)}
        return {**self._compared(), "weights": weights, **rest}

    @property
    def is_given(self) -> bool:
        """Whether the features come from no network of decaf's, so that images give none."""
        return not self.weights_sha256

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what counts: 64 hexadecimal digits, equal for the same features."""
        return fingerprint(self._compared())

    def check(self, other: FeatureIdentity, what: str = "the features") -> None:
        """Refuse features that are not those of this identity.

        Parameters
        ----------
        other : FeatureIdentity
            Identity of the features at hand.
        what : str
            Name of the features in messages, such as their file.

        Raises
        ------
        HeadError
            With every setting that differs, both values shown.
        """
        different = differences(self._compared(), other._compared())
        if different:
            raise HeadError(
                f"{what}: not the features this head was fitted to: "
                + "; ".join(each.replace(" there, ", " in the head, ") for each in different)
                + f" (weights {self.weights_name!r} in the head, {other.weights_name!r} now)"
            )

    def _compared(self) -> dict[str, Any]:
        return {
            "layer": self.layer,
            "weights": {"sha256": self.weights_sha256},
            "arch": dict(self.arch),
            "preprocess": dict(self.preprocess),
            "crops": self.crops,
            "precision": self.precision,
        }
