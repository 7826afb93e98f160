"""Features as tools of other trades take them: pandas' DataFrame, and xarray's DataArray."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from decaf.errors import SettingError
from decaf.features.store import schema

if TYPE_CHECKING:
    import pandas
    import xarray

    from decaf.features.store.feature_file import FeatureFile

__all__ = ["as_dataframe", "as_xarray", "row_columns"]

_TABLES = "pip install 'decaf-features[tables]'"


def as_dataframe(
    file: FeatureFile, layer: str | Sequence[str] | None, *, ok_only: bool
) -> pandas.DataFrame:
    """Return a feature file as a DataFrame; see `FeatureFile.to_dataframe`.

    Parameters
    ----------
    file : FeatureFile
    layer : str, sequence of str, or None
    ok_only : bool
    """
    try:
        import pandas
    except ImportError:
        raise SettingError(f"a DataFrame is made by pandas: {_TABLES}") from None
    layers = file.layers if layer is None else [layer] if isinstance(layer, str) else list(layer)
    for each in layers:
        file[each]  # tells what is there, before anything is read
    rows = np.flatnonzero(file.ok) if ok_only else np.arange(len(file))
    names: Any = file.paths[rows]
    if any(name != name.encode(errors="ignore").decode() for name in names):
        names = pandas.Series(names, index=rows, dtype=object)  # no UTF-8, as its texts have to be
    columns: dict[str, Any] = {"path": names, "label": file.labels[rows]}
    if file.class_names:
        codes = file.labels[rows]
        columns["class"] = (
            pandas.Categorical.from_codes(codes, list(file.class_names))
            if len(set(file.class_names)) == len(file.class_names)
            else [file.class_names[code] if code >= 0 else None for code in codes]
        )
    columns |= {name: values[rows] for name, values in row_columns(file).items()}
    columns["status"] = np.array(file.status_names, object)[file.status[rows]]
    parts = [pandas.DataFrame(columns, index=rows)]
    for each in layers:
        values, _ = file.to_xy(each, ok_only=ok_only)
        names = [f"{each}_{column}" for column in range(values.shape[1])]
        parts.append(pandas.DataFrame(values, index=rows, columns=names, copy=False))
    return pandas.concat(parts, axis=1)


def as_xarray(file: FeatureFile, layer: str, *, ok_only: bool) -> xarray.DataArray:
    """Return a layer as a DataArray; see `FeatureFile.to_xarray`.

    Parameters
    ----------
    file : FeatureFile
    layer : str
    ok_only : bool
    """
    try:
        import xarray
    except ImportError:
        raise SettingError(f"a DataArray is made by xarray: {_TABLES}") from None
    view = file[layer]
    rows = np.flatnonzero(file.ok) if ok_only else np.arange(len(file))
    axes = ["image"]
    if file.run.get("crops") == "ten-stack":
        axes.append("crop")
    axes += ["channel", "y", "x"] if view.ndim - len(axes) == 3 else ["unit"]
    coordinates: dict[str, Any] = {
        "image": rows,
        "path": ("image", file.paths[rows]),
        "label": ("image", file.labels[rows]),
        **{name: ("image", values[rows]) for name, values in row_columns(file).items()},
        "status": ("image", np.array(file.status_names, object)[file.status[rows]]),
        **{axis: np.arange(size) for axis, size in zip(axes[1:], view.shape[1:], strict=True)},
    }
    if file.class_names:
        names = np.array([*file.class_names, ""], object)  # -1, no class, is the last of them
        coordinates["class"] = ("image", names[file.labels[rows]])
    return xarray.DataArray(
        view[rows] if ok_only else view[:],
        coordinates,
        axes,
        name=layer,
        attrs={
            "weights": str(file.run["weights"]["name"]),
            "fingerprint": file.fingerprint,
            "run": json.dumps(file.run),
        },
    )


def row_columns(file: FeatureFile) -> dict[str, np.ndarray]:
    """Return the columns that not every file has, by the names that tables give them.

    Texts of split, group and annotation, and numbers of box_x, box_y, box_width, box_height and
    confidence.

    Parameters
    ----------
    file : FeatureFile
    """
    columns: dict[str, np.ndarray] = {}
    for name in (schema.SPLIT, schema.GROUP, schema.ANNOTATION):
        if (texts := file.column(name)) is not None:
            columns[name] = np.array([*texts, None], object)[:-1]
    if file.boxes is not None and file.confidences is not None:
        sides = ("box_x", "box_y", "box_width", "box_height")
        columns |= {**dict(zip(sides, file.boxes.T, strict=True)), "confidence": file.confidences}
    return columns
