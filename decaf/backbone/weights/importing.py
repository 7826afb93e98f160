"""Weights of other programs, told apart by their files and turned into decaf's."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from decaf.backbone.caffe.convert import read_caffemodel
from decaf.backbone.spec import ArchSpec, architecture
from decaf.backbone.weights import WEIGHTS_ENDINGS
from decaf.backbone.weights.quantised import relative_errors
from decaf.backbone.weights.safetensors_file import check_weights_path, read_weights, save_weights
from decaf.backbone.weights.state import Weights
from decaf.backbone.weights.torchvision_file import read_torchvision_file
from decaf.errors import InputError, SettingError, WeightsError
from decaf.images.listing.recognise import not_wanted

__all__ = ["ImportedWeights", "import_weights", "read_class_names", "read_external_weights"]

_CAFFE = ".caffemodel"
_OWN, *_TORCH = WEIGHTS_ENDINGS

_PATHS = (str, os.PathLike)

_WNID = re.compile(r"(n\d{8})\s+(.+)")
# Fields of a spec that make it another network; the rest are names and matters of training.
_STRUCTURE = ("input_size", "convs", "hidden", "activation", "pool", "adaptive_pool")


@dataclass(frozen=True, eq=False)
class ImportedWeights:
    """The result of `import_weights`.

    Attributes
    ----------
    path : Path
    bytes : int
        Size of the file.
    weights : Weights
        As they were read from the file.
    relative_errors : dict of str to float
        How far each tensor that was rounded is off; see
        `decaf.backbone.weights.quantised.relative_errors`.
    """

    path: Path
    bytes: int
    weights: Weights
    relative_errors: dict[str, float]


def import_weights(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    mean: str | os.PathLike[str] | Sequence[float] | None = None,
    arch: str | None = None,
    class_names: str | os.PathLike[str] | Sequence[str] | None = None,
    dtype: str | Mapping[str, str] = "float32",
    overwrite: bool = False,
) -> ImportedWeights:
    """Turn weights of torchvision or Caffe into a weights file of decaf.

    Parameters
    ----------
    source : str or path
        The file to read.
    out : str or path
        The file to write; ends in ``.safetensors``.
    mean, arch
        As in `read_external_weights`.
    class_names : path or sequence of str, optional
        As in `read_external_weights`, or a text file of them, as `read_class_names` reads it.
    dtype : str, or mapping of str to str
        How tensors are stored; see `decaf.backbone.weights.safetensors_file.save_weights`.
    overwrite : bool
        Replace a weights file that is there.

    Returns
    -------
    ImportedWeights

    Raises
    ------
    WeightsError
        If the file is damaged or of another kind, or not of the architecture.
    SettingError
        For what cannot be asked for.
    InputError
        If the class names cannot be read.
    OutputError
        If `out` exists already, or cannot be written.
    """
    check_weights_path(out, overwrite=overwrite, inputs=(source,))
    names = read_class_names(class_names) if isinstance(class_names, _PATHS) else class_names
    weights = read_external_weights(source, mean=mean, arch=arch, class_names=names)
    save_weights(out, weights, dtype=dtype, overwrite=overwrite)
    # Read again: the errors are those of the file, and the file is known to be sound.
    written = read_weights(out)
    errors = {key: error for key, error in relative_errors(weights, written).items() if error}
    return ImportedWeights(Path(out), os.path.getsize(out), written, errors)


def read_external_weights(
    path: str | os.PathLike[str],
    *,
    mean: str | os.PathLike[str] | Sequence[float] | None = None,
    arch: str | None = None,
    class_names: Sequence[str] | None = None,
) -> Weights:
    """Read weights of torchvision or Caffe.

    Parameters
    ----------
    path : str or path
        torchvision's AlexNet (``.pth``, ``.pt``), a network of Caffe (``.caffemodel``), or weights
        of decaf (``.safetensors``), to be stored in another form.
    mean : path or three floats, optional
        For a network of Caffe: its mean image, or mean colour
        (`decaf.backbone.caffe.convert.read_caffemodel`).
    arch : str, optional
        Name of the architecture that the network must have in its sizes: convolutions, pooling,
        hidden units, input and activation. For a network of Caffe it also gives the size of the
        input where the file does not tell it.
    class_names : sequence of str, optional
        One name a class, in the order of the units of ``fc8``. A WordNet id before each name, as
        in Caffe's ``synset_words.txt``, goes into the provenance instead; names without ids take
        the place of ids that the weights had.

    Returns
    -------
    Weights

    Raises
    ------
    WeightsError
        If the file is damaged or of another kind, or not of the architecture.
    SettingError
        If there is no such architecture, or a mean is given for weights that know theirs.
    """
    where = Path(path)
    expected = architecture(arch) if arch is not None else None
    if not where.exists():
        raise WeightsError(f"{where}: no such file")
    if mean is not None and where.suffix != _CAFFE:
        raise SettingError(f"{where}: only networks of Caffe ({_CAFFE}) take `mean`; leave it out")
    if where.suffix == _CAFFE:
        size = {} if expected is None else {"input_size": expected.input_size}
        weights = read_caffemodel(where, mean=mean, **size)
    elif where.suffix in _TORCH:
        weights = read_torchvision_file(where)
    elif where.suffix == _OWN:
        weights = read_weights(where)
    else:
        endings = ", ".join((*_TORCH, _CAFFE, _OWN))
        raise WeightsError(
            not_wanted(where, f"a file that can be imported, whose name ends in {endings}")
        )
    if expected is not None:
        _check_structure(where, weights.spec, expected)
    return weights if class_names is None else _named(where, weights, class_names)


def read_class_names(path: str | os.PathLike[str]) -> list[str]:
    """Read a text file (UTF-8) with a class name on each line; empty lines at its end are ignored.

    Parameters
    ----------
    path : str or path

    Raises
    ------
    InputError
        If the file cannot be read, or an empty line stands between names.
    """
    try:
        # Not by splitlines, which ends lines at more than their ends.
        lines = Path(path).read_text(encoding="utf-8-sig").rstrip().split("\n")
    except OSError as error:
        raise InputError(f"{os.fspath(path)}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise InputError(f"{os.fspath(path)}: is no UTF-8 text") from None
    names = [line.strip() for line in lines]
    if names == [""]:
        raise InputError(f"{os.fspath(path)}: holds no class names")
    if "" in names:
        raise InputError(f"{os.fspath(path)}: line {names.index('') + 1} is empty")
    return names


def _check_structure(where: Path, actual: ArchSpec, expected: ArchSpec) -> None:
    differing = [
        f"{name} is {_short(getattr(actual, name))}, expected {_short(getattr(expected, name))}"
        for name in _STRUCTURE
        if name != "convs" and getattr(actual, name) != getattr(expected, name)
    ]
    for number, pair in enumerate(zip(actual.convs, expected.convs, strict=True), start=1):
        if pair[0] != pair[1]:
            differing.append(f"conv{number} is {_short(pair[0])}, expected {_short(pair[1])}")
    if differing:
        raise WeightsError(f"{where}: not the architecture {expected.name}: {'; '.join(differing)}")


def _short(value: object) -> str:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = dataclasses.asdict(value).items()
        return "(" + ", ".join(f"{key} {part}" for key, part in parts) + ")"
    return str(value)


def _named(where: Path, weights: Weights, class_names: Sequence[str]) -> Weights:
    names = list(class_names)
    if len(names) != weights.spec.classes:
        raise WeightsError(
            f"{where}: {len(names)} class names for {weights.spec.classes} classes of the network"
        )
    matches = [_WNID.fullmatch(name) for name in names]
    # The ids that the weights had were those of the names they had.
    provenance = {key: value for key, value in weights.provenance.items() if key != "wnids"}
    if all(matches):
        provenance["wnids"] = [match[1] for match in matches if match]
        names = [match[2] for match in matches if match]
    return dataclasses.replace(weights, class_names=tuple(names), provenance=provenance)
