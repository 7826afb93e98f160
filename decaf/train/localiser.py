"""A regression of boxes on features, and its file: `Localiser`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from decaf.backbone.weights import DEFAULT_WEIGHTS
from decaf.errors import DecafError, HeadError, OutputError
from decaf.features.extraction import Extraction
from decaf.features.settings import NetworkSettings, RunSettings
from decaf.heads.feature_identity import FeatureIdentity
from decaf.images import ImageList, collect
from decaf.images.box_overlap import from_window, merge_boxes
from decaf.images.crops import crop_windows
from decaf.images.spec import PreprocessSpec
from decaf.images.status import status_code
from decaf.runtime.progress import progress_for
from decaf.runtime.settings import ComputeSettings, Part, one_of, refuse, settings_from
from decaf.storage import canonical_json, check_output, disk_errors
from decaf.storage.atomic import whole_file
from decaf.storage.tensors import TensorFileKind, content_sha256, json_field, write_tensors
from decaf.train.localiser_settings import LocaliserSettings
from decaf.version import __version__

if TYPE_CHECKING:
    import torch

    from decaf.backbone.model import Backbone

__all__ = [
    "BLIND_BOXES",
    "Localiser",
    "LocatedBoxes",
    "backbone_for",
    "boxes_in_crops",
    "check_out",
    "crop_features",
    "edges",
    "image_windows",
    "load_localiser",
]

BLIND_BOXES = ("whole_image", "mean_box", "centre_box")
"""Answers that do not look at the image, whose edges a report has under ``blind_boxes``."""

_FILE = TensorFileKind("localiser", "decaf-localiser", ("1",), HeadError)


class Localiser:
    """Boxes of objects by regression on the features of a network; `localise` makes it.

    Parameters
    ----------
    layers : sequence of (Tensor (out, in), Tensor (out,))
        Weight and bias of each linear layer; a ReLU is between two.
    identity : FeatureIdentity
        Which features they belong to.
    settings : LocaliserSettings
    class_names : sequence of str
        Classes that have boxes of their own, in their order; empty where one serves all.
    report : mapping
        Figures measured when it was made.

    Attributes
    ----------
    layers, identity, settings, class_names, report
        As given.
    """

    def __init__(
        self,
        layers: Sequence[tuple[torch.Tensor, torch.Tensor]],
        *,
        identity: FeatureIdentity,
        settings: LocaliserSettings,
        class_names: Sequence[str] = (),
        report: Mapping[str, Any] | None = None,
    ) -> None:
        self.layers = list(layers)
        self.identity = identity
        self.settings = settings
        self.class_names = tuple(class_names)
        self.report = dict(report or {})

    def boxes_in_crops(self, features: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Predict boxes from the features of crops.

        Parameters
        ----------
        features : array, shape (M, D)

        Returns
        -------
        array of float64, shape (M, 1 or classes, 4)
            Edges as shares of the crop's sides.
        """
        return boxes_in_crops(self.layers, features)

    def predict(
        self,
        images: Any,
        *,
        network: NetworkSettings | None = None,
        compute: ComputeSettings | None = None,
        **named: Any,
    ) -> LocatedBoxes:
        """Predict the boxes of images.

        Parameters
        ----------
        images : as for `decaf.extract`
        network : NetworkSettings, optional
            How the network is run: weights, of the network that it belongs to (another is refused);
            batch_size, as for `decaf.extract`; and crops: with "ten" the boxes of ten crops are
            merged (Sermanet et al. 2014, section 4.3).
        compute : ComputeSettings, optional
            How the work is done: device, workers, progress and stop, as for `decaf.extract`.
        **named
            Fields of `network` and `compute` by their names.

        Returns
        -------
        LocatedBoxes

        Raises
        ------
        HeadError
            If the network is another than the one whose features it belongs to.
        """
        made = settings_from(
            self.predict,
            named,
            Part("network", NetworkSettings, network, ("preprocess", "precision")),
            Part("compute", ComputeSettings, compute),
        )
        network, compute = made
        crops = network.crops or "center"
        refuse(one_of("crops", crops, ("center", "ten")))
        listed = images if isinstance(images, ImageList) else collect(images, labels="none")
        own = PreprocessSpec.from_dict(dict(self.identity.preprocess))
        backbone = backbone_for(network.weights, self.settings.layer).with_preprocess(own)
        run = RunSettings((self.settings.layer,), "center", self.identity.precision)
        given = FeatureIdentity.of(run.record(backbone), self.settings.layer)
        self.identity.check(given, f"the network {backbone.weights_name}")
        boxes = np.full((len(listed), len(self.class_names) or 1, 4), np.nan)
        sizes = np.full((len(listed), 2), -1, np.int64)
        ok = np.zeros(len(listed), bool)
        features = crop_features(listed, backbone, run, crops, network.batch_size, compute)
        for rows, values, size, good in features:
            sizes[rows], ok[rows] = size, good
            for row in np.flatnonzero(good).tolist():
                boxes[rows.start + row] = self._merged(values[row], size[row], own, crops)
        return LocatedBoxes(boxes, sizes, ok, self.class_names)

    def network_among(self, networks: Sequence[Any]) -> Backbone:
        """Find the network that it belongs to.

        Parameters
        ----------
        networks : sequence of str, path, Weights or Backbone

        Raises
        ------
        HeadError
            If it is not among them.
        """
        names = []
        for each in networks:
            backbone = backbone_for(each, self.settings.layer)
            if backbone.sha256 == self.identity.weights_sha256:
                return backbone
            names.append(backbone.weights_name)
        raise HeadError(
            f"the boxes were learnt on {self.identity.weights_name} (SHA-256 "
            f"{self.identity.weights_sha256[:12]}…), which is not {' or '.join(names)}"
        )

    def _merged(
        self,
        values: npt.NDArray[Any],
        size: npt.NDArray[np.int64],
        spec: PreprocessSpec,
        crops: str,
    ) -> npt.NDArray[np.float64]:
        """Make the boxes of an image of those of its crops, as shares of the image's sides."""
        windows = image_windows(spec, size, crops)
        boxes = np.clip(from_window(self.boxes_in_crops(values), windows[:, None]), 0, 1)
        return np.array([merge_boxes(each) for each in boxes.swapaxes(0, 1)])

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write it to a file, which is complete under its name, or not there.

        Parameters
        ----------
        path : path
        overwrite : bool
            Whether a file of that name may be replaced.

        Raises
        ------
        OutputError
            If the file exists already, or cannot be written.
        """
        check_out(path, overwrite)
        tensors: dict[str, torch.Tensor] = {}
        for number, (weight, bias) in enumerate(self.layers):
            tensors |= {f"layer{number}.weight": weight, f"layer{number}.bias": bias}
        header = {
            "format": _FILE.format,
            "schema": _FILE.schemas[-1],
            "decaf_version": __version__,
            "settings": canonical_json(asdict(self.settings)),
            "identity": canonical_json(self.identity.to_dict()),
            "class_names": canonical_json(list(self.class_names)),
            "report": canonical_json(self.report),
        }
        header["sha256"] = content_sha256(_arrays(tensors), header)
        with disk_errors(Path(path), "nothing was written"), whole_file(Path(path)) as stream:
            write_tensors(stream, tensors, header)


@dataclass(frozen=True, eq=False)
class LocatedBoxes:
    """The boxes that were predicted for N images.

    Attributes
    ----------
    relative : array of float64, shape (N, 1 or classes, 4)
        Left, top, right and bottom edge as shares of the image's sides; NaN of a bad image.
    sizes : array of int64, shape (N, 2)
        Width and height; -1 of an image that could not be read.
    ok : array of bool, shape (N,)
        Whether the image could be read.
    class_names : tuple of str
        Classes that have boxes of their own; empty where one serves all.
    """

    relative: npt.NDArray[np.float64]
    sizes: npt.NDArray[np.int64]
    ok: npt.NDArray[np.bool_]
    class_names: tuple[str, ...] = ()

    @property
    def pixels(self) -> npt.NDArray[np.float64]:
        """The same in pixels."""
        scaled: npt.NDArray[np.float64] = self.relative * np.tile(self.sizes, 2)[:, None]
        return scaled


def load_localiser(path: str | os.PathLike[str]) -> Localiser:
    """Read and check the file of a localiser.

    Parameters
    ----------
    path : path

    Returns
    -------
    Localiser

    Raises
    ------
    HeadError
        If the file is damaged, none, of a later schema, or not consistent with itself.
    """
    where = os.fspath(path)
    with _FILE.open(where, "pt") as (header, file):
        names: list[str] = file.keys()
        if wrong := sorted(name for name in names if file.get_slice(name).get_dtype() != "F32"):
            raise HeadError(f"{where}: damaged: its tensor {wrong[0]!r:.60} is not float32")
        tensors = {name: file.get_tensor(name) for name in names}
    if content_sha256(_arrays(tensors), header) != header.get("sha256"):
        raise HeadError(f"{where}: damaged or altered: its content does not have its SHA-256")
    try:
        class_names = json_field(header, "class_names", list)
        report = json_field(header, "report", dict)
        if set(report["blind_boxes"]) != set(BLIND_BOXES):
            raise ValueError(f"its report lacks one of {', '.join(BLIND_BOXES)}")
        return Localiser(
            _checked_layers(tensors, 4 * (len(class_names) or 1)),
            identity=FeatureIdentity.from_dict(json_field(header, "identity", dict)),
            settings=LocaliserSettings(**json_field(header, "settings", dict)),
            class_names=class_names,
            report=report,
        )
    except (DecafError, KeyError, TypeError, ValueError) as error:
        raise HeadError(f"{where}: not consistent with itself: {error!s:.200}") from None


def _checked_layers(
    tensors: Mapping[str, torch.Tensor], outputs: int
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return the layers of a file, of which each takes what the one before gives."""
    layers = [
        (tensors[f"layer{number}.weight"], tensors[f"layer{number}.bias"])
        for number in range(len(tensors) // 2)
    ]
    sizes = [weight.shape[:1] for weight, _ in layers]
    fits = all(
        weight.ndim == 2 and bias.shape == weight.shape[:1] and bool(weight.isfinite().all())
        for weight, bias in layers
    ) and all(weight.shape[1:] == before for (weight, _), before in zip(layers[1:], sizes[:-1],
                                                                        strict=True))  # fmt: skip
    if not layers or len(tensors) % 2 or not fits or tuple(sizes[-1]) != (outputs,):
        raise ValueError("its layers do not fit each other, or its classes")
    return layers


def _arrays(tensors: Mapping[str, torch.Tensor]) -> dict[str, npt.NDArray[Any]]:
    return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}


def boxes_in_crops(
    layers: Sequence[tuple[torch.Tensor, torch.Tensor]], features: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    """Predict boxes from the features of crops; see `Localiser.boxes_in_crops`.

    Parameters
    ----------
    layers : sequence of (Tensor (out, in), Tensor (out,))
    features : array, shape (M, D)
    """
    import torch

    with torch.no_grad():
        values = torch.from_numpy(np.ascontiguousarray(features, np.float32))
        for number, (weight, bias) in enumerate(layers):
            values = torch.nn.functional.linear(values, weight, bias)
            values = values.relu() if number < len(layers) - 1 else values
        return edges(values.double().unflatten(1, (-1, 4))).numpy()


def backbone_for(weights: Any, layer: str) -> Backbone:
    """Load a network that has a layer.

    Parameters
    ----------
    weights : str, path, Weights or Backbone, optional
        As for `decaf.load_backbone`, whose default is taken where there are none.
    layer : str

    Raises
    ------
    SettingError
        If it has no such layer.
    """
    from decaf.backbone.model import load_backbone
    from decaf.backbone.steps import resolve_layers

    backbone = load_backbone(DEFAULT_WEIGHTS if weights is None else weights)
    resolve_layers(backbone.spec, (layer,))
    return backbone


def crop_features(
    listed: ImageList,
    backbone: Backbone,
    run: RunSettings,
    crops: str,
    batch_size: int | None,
    compute: ComputeSettings,
    *,
    raise_bad: bool = False,
) -> Iterator[tuple[slice, npt.NDArray[Any], npt.NDArray[np.int64], npt.NDArray[np.bool_]]]:
    """Compute the features of the crops of images.

    Parameters
    ----------
    listed : ImageList
    backbone : Backbone
    run : RunSettings
        Of one layer; its crops do not count.
    crops : {"center", "ten"}
    batch_size : int or None
    compute : ComputeSettings
    raise_bad : bool
        Raise at the first bad image.

    Yields
    ------
    rows : slice
    features : array, shape (rows, 1 or 10, D)
    sizes : array of int64, shape (rows, 2)
        Width and height of the images.
    good : array of bool, shape (rows,)
        Whether they could be read.
    """
    from decaf.runtime.device import choose_device

    stacked = RunSettings(run.layers, "center" if crops == "center" else "ten-stack", run.precision)
    with (
        Extraction(listed, backbone, stacked, device=choose_device(compute.device),
                   workers=compute.workers, batch_size=batch_size) as extraction,
        progress_for(compute.progress, len(listed), 0) as shown,
    ):  # fmt: skip
        for rows in extraction.rows(stop=compute.stop, raise_bad=raise_bad):
            values = rows.features[run.layers[0]]
            values = values if crops == "ten" else values[:, None]
            values = values.reshape(*values.shape[:2], -1)
            good = rows.status == status_code("ok")
            yield slice(rows.start, rows.stop), values, rows.source_size.astype(np.int64), good
            shown.advance(rows.stop - rows.start)


def image_windows(spec: PreprocessSpec, size: Any, crops: str) -> npt.NDArray[np.float64]:
    """Return which part of an image each of its crops shows.

    Parameters
    ----------
    spec : PreprocessSpec
    size : sequence of 2 int
        Width and height of the image, one that could be read.
    crops : {"center", "ten"}

    Returns
    -------
    array of float64, shape (1, 4) or (10, 4)
        As `decaf.images.crops.crop_windows` has them.
    """
    from decaf.images.preprocess import resized_size

    height, width = resized_size(int(size[1]), int(size[0]), spec)
    return crop_windows(height, width, spec.crop, crops == "ten")


def edges(values: torch.Tensor) -> torch.Tensor:
    """Turn centre and sides (…, 4), as differences to the middle half, into edges."""
    import torch

    centre, sides = values[..., :2] + 0.5, (values[..., 2:] + 0.5).clamp(min=1e-3)
    return torch.cat([centre - sides / 2, centre + sides / 2], -1)


def check_out(path: str | os.PathLike[str], overwrite: bool) -> None:
    """Refuse a place that no localiser could be written to.

    Parameters
    ----------
    path : path
    overwrite : bool
        Whether a file of that name may be replaced.

    Raises
    ------
    OutputError
        If it does not end in ``.safetensors``, its folder is not there, or it is there already;
        what is no localiser is never replaced.
    """
    target = Path(path)
    if target.suffix != ".safetensors":
        raise OutputError(f"{target}: must end in .safetensors")
    check_output(target, "localiser")
    if target.exists() and not overwrite:
        raise OutputError(f"{target}: exists already; give another `out`, or `overwrite=True`")
