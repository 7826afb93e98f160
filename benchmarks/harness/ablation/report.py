"""The report of the ablations: tables, the curve of figure 1, and what so little data can say."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from decaf.exploration.page import Cell, Column, Lines, Row, Section, Series, Table, Text
from harness.ablation.activation import ACTIVATIONS, TARGET, Activations, Curve, epochs_until
from harness.ablation.step_time import ARCH, BATCH, StepTime
from harness.ablation.switches import ALL, Switches, Trained
from harness.protocol.outcomes import mean_and_std, mean_interval
from harness.protocol.run import BenchmarkRun, ProtocolSettings
from report import BenchmarkReport

__all__ = ["make_report"]

_PAPER = "Krizhevsky, Sutskever & Hinton 2012"
_NAMES = {"relu": "ReLU", "tanh": "tanh"}
HALF = 50.0
"""Training error in percent by which the speed of learning is told."""


def make_report(
    run: BenchmarkRun[ProtocolSettings],
    activations: Activations | None,
    switches: Switches | None,
    times: tuple[StepTime, StepTime] | None,
) -> BenchmarkReport:
    """Make the report of what was measured.

    Parameters
    ----------
    run : BenchmarkRun
    activations, switches : optional
        None where that part was left out.
    times : (StepTime, StepTime), optional
        Of a GPU and the CPU; None where there is no GPU.
    """
    sections: list[Section] = []
    appendix: list[Section] = []
    headlines: list[str] = []
    settings: dict[str, str] = {}
    if activations is not None:
        sections += [_activation_table(activations), _figure_1(activations)]
        appendix.append(_grid(activations))
        headlines.append(_activation_headline(activations))
        own = activations.settings
        settings["ReLU and tanh"] = (
            f"{activations.images:,} images of {activations.classes} classes, {own.seeds} seeds, "
            f"at most {own.epochs} epochs"
        )
    if switches is not None:
        sections += [_switch_table(switches), _overfitting(switches)]
        headlines.append(_switch_headline(switches))
        one, recipe = switches.runs[ALL][0], switches.settings.recipe(None, 0)
        settings["with and without"] = (
            f"{recipe.arch}, {one.images:,} training and {one.test_images:,} test images of "
            f"{one.classes} classes, {len(switches.runs[ALL])} seeds, {recipe.epochs:g} epochs of "
            f"batches of {recipe.batch_size}, AdamW at {recipe.lr:g}, {recipe.precision}"
        )
        if not _has_learned(switches):
            run.notes.append(
                "with all parts the network is hardly better than guessing: it has not been "
                "trained for long enough to say what a part is worth"
            )
    sections += [_meaning(activations, switches), _step_section(times)]
    return run.report(
        "The ablations of the 2012 network",
        "What ReLU, local response normalisation, overlapping pooling, dropout, augmentation and "
        "two towers are worth on little data and in little time: the comparisons of "
        f"{_PAPER}, each made anew with the part and without it.",
        "; ".join(headlines),
        sections,
        splits=(),
        settings=settings,
        notes=run.notes,
        appendix=appendix,
    )


def _reached(activations: Activations, activation: str) -> list[float]:
    return [each for each in activations.epochs(activation) if each is not None]


def _ratio(activations: Activations) -> tuple[float, str]:
    """Return tanh's epochs over ReLU's, and the same with its interval in words.

    Ratios multiply: the mean and the interval are those of their logarithms, over the seeds in
    which both reach the target.
    """
    pairs = zip(activations.epochs("tanh"), activations.epochs("relu"), strict=True)
    logs = [math.log(tanh / relu) for tanh, relu in pairs if tanh is not None and relu is not None]
    if not logs:
        return math.nan, "–"
    ratio = math.exp(statistics.mean(logs))
    ends = mean_interval(logs)
    interval = "" if ends is None else " ({:.1f} to {:.1f})".format(*map(math.exp, ends))
    return ratio, f"{ratio:.1f}{interval}"


def _activation_table(activations: Activations) -> Table:
    rows = []
    for activation in ACTIVATIONS:
        curves = activations.curves[activation]
        reached = _reached(activations, activation)
        missed = len(curves) - len(reached)
        note = f"{missed} of {len(curves)} runs did not come to {TARGET:g} %" if missed else ""
        epochs = [max(1, len(curve.errors)) for curve in curves]
        seconds = [c.seconds / n for c, n in zip(curves, epochs, strict=True)]
        is_tanh = activation == "tanh"
        cells = (
            f"{activations.best[activation]:g}",
            Cell(*mean_and_std(reached), n=len(reached), note=note) if reached else Cell(note=note),
            Cell(statistics.median(seconds)),
            _ratio(activations)[1] if is_tanh else "1",
            "about 6" if is_tanh else "1",
        )
        rows.append(Row(_NAMES[activation], cells))
    columns = (
        Column("learning rate"),
        Column(f"epochs to {TARGET:g} % training error"),
        Column("seconds an epoch"),
        Column("epochs over ReLU's"),
        Column("epochs over ReLU's", f"{_PAPER}, figure 1"),
    )
    return Table(
        "ReLU and tanh",
        columns,
        tuple(rows),
        row_header="Activation",
        unit="",
        best="none",
        caption="A network of three convolutions and a classifier, without any regularisation, "
        "each activation with the fastest rate of a grid (chosen with seed 0). Epochs are read off "
        "the training error as the images are passed through, with straight lines between the ends "
        "of epochs and guessing at 0. The ratio is the geometric mean over seeds in which both "
        "come so far, with its 95 % interval (Student's t on logarithms).",
    )


def _figure_1(activations: Activations) -> Lines:
    series = []
    for activation in ACTIVATIONS:
        curves = [curve.errors for curve in activations.curves[activation]]
        # Runs end where they reach the target: a mean over those left would go up again.
        spans = range(min(map(len, curves)))
        points = [mean_and_std([errors[k] for errors in curves]) for k in spans]
        std = tuple(each for _, each in points)
        x = (0.0, *(k + 1.0 for k in spans))
        means = (activations.chance, *(mean for mean, _ in points))
        name = f"{_NAMES[activation]}, rate {activations.best[activation]:g}"
        series.append(Series(name, x, means, () if None in std else (0.0, *std)))
    end = max(each.x[-1] for each in series)
    series.append(Series(f"{TARGET:g} %", (0.0, end), (TARGET, TARGET)))
    return Lines(
        "Training error over the epochs",
        tuple(series),
        x_label="epochs",
        y_label="training error",
        caption="Mean over seeds, as long as all of them train: a run ends at the first epoch with "
        f"an error of {TARGET:g} % or less.",
    )


def _grid(activations: Activations) -> Table:
    rates = activations.settings.rates
    rows = []
    for activation, curves in activations.grid.items():
        cells = tuple(_grid_cell(curves[rate], activations) for rate in rates)
        rows.append(Row(_NAMES[activation], cells))
    return Table(
        f"Epochs to {TARGET:g} % by learning rate",
        tuple(Column(f"{rate:g}") for rate in rates),
        tuple(rows),
        row_header="Activation",
        unit="",
        best="none",
        caption="Seed 0. A rate is given up once another has been faster: more than N epochs.",
    )


def _grid_cell(curve: Curve, activations: Activations) -> str:
    reached = epochs_until(curve.errors, TARGET, activations.chance)
    if reached is not None:
        return f"{reached:.1f}"
    return f"more than {len(curve.errors)}" if curve.errors else "diverged"


def _activation_headline(activations: Activations) -> str:
    ratio, _ = _ratio(activations)
    if math.isnan(ratio):
        return f"ReLU and tanh did not both reach {TARGET:g} % training error"
    return f"tanh takes {ratio:.1f} times the epochs of ReLU to {TARGET:g} % training error"


def _switch_table(switches: Switches) -> Table:
    source = f"{_PAPER}, sections 3.2 to 4.2"
    rows = [Row("all parts", (*_errors(switches.runs[ALL]), "", "", "", ""))]
    for switch in switches.settings.chosen:
        differences = (
            _with_interval(switches.differences(switch.key, name))
            for name in ("top1_error", "top5_error")
        )
        top1, top5 = _errors(switches.runs[switch.key])
        rows.append(Row(switch.title, (top1, top5, *differences, *switch.published)))
    return Table(
        "With each part and without it",
        (
            Column("top-1 error, %"),
            Column("top-5 error, %"),
            Column("top-1, points more"),
            Column("top-5, points more"),
            Column("top-1, points more", source),
            Column("top-5, points more", source),
        ),
        tuple(rows),
        unit="",
        best="none",
        caption="Errors on the test images, mean over seeds. Points more: the error without the "
        "part less that with all parts, seed by seed, with the 95 % interval of its mean "
        "(Student's t over seeds); above 0, the part helps. The intervals are of the training, "
        "and of the draw of training images where a seed draws them, for these test images. The "
        "learning rate was not tuned for any row. “overfits”: the paper gives no number, but says "
        "that the network overfits substantially without dropout, and without crops and mirrors "
        "together. Its one tower has half the kernels of conv1 to conv4, as here. Without crops "
        "the whole image is seen, shrunk to the network's input, in training and in the test.",
    )


def _errors(runs: Sequence[Trained]) -> tuple[Cell, Cell]:
    top5 = [each.top5_error for each in runs if each.top5_error is not None]
    first = Cell(*mean_and_std([each.top1_error for each in runs]), n=len(runs))
    return first, Cell(*mean_and_std(top5), n=len(top5)) if top5 else Cell()


def _overfitting(switches: Switches) -> Table:
    titles = {ALL: "all parts", **{s.key: s.title for s in switches.settings.chosen}}
    rows = []
    for key, title in titles.items():
        runs = switches.runs[key]
        last = [run.train_errors[-1] for run in runs]
        gaps = [run.top1_error - error for run, error in zip(runs, last, strict=True)]
        half = [epochs_until(r.train_errors, HALF, 100 * (1 - 1 / r.classes)) for r in runs]
        reached = [each for each in half if each is not None]
        missed = len(half) - len(reached)
        note = f"{missed} of {len(half)} runs did not come to {HALF:g} %" if missed else ""
        cells = (
            Cell(*mean_and_std(last), n=len(last)),
            Cell(*mean_and_std(gaps), n=len(gaps)),
            Cell(*mean_and_std(reached), n=len(reached), note=note) if reached else Cell(note=note),
            Cell(statistics.median(run.seconds for run in runs), n=len(runs)),
        )
        rows.append(Row(title, cells))
    columns = ("training error, %", "test less training, points", f"epochs to {HALF:g} %", "s")
    return Table(
        "Overfitting and the speed of learning",
        tuple(map(Column, columns)),
        tuple(rows),
        unit="",
        best="none",
        caption="Training error of the last epoch, of the images as they are trained on: "
        "augmented, and with dropout. The higher the test error above it, the more the network "
        f"overfits. Epochs until a training error of {HALF:g} % as above; the paper says that "
        "dropout about doubles the iterations to converge.",
    )


def _told_apart(switches: Switches) -> tuple[list[str], list[str]]:
    """Return the keys whose interval of top-1 differences leaves out 0, and those that hold it."""
    told: list[str] = []
    alike: list[str] = []
    for switch in switches.settings.chosen:
        ends = mean_interval(switches.differences(switch.key, "top1_error"))
        if ends is not None:
            (alike if ends[0] <= 0 <= ends[1] else told).append(switch.key)
    return told, alike


def _switch_headline(switches: Switches) -> str:
    seeds = len(switches.runs[ALL])
    points = {
        key: statistics.mean(switches.differences(key, "top1_error"))
        for key in _told_apart(switches)[0]
    }
    if not points:
        return f"no part's worth in top-1 error is told apart from chance by {seeds} seeds"
    words = ", ".join(
        f"{switch.title} {points[switch.key]:+.1f} points"
        for switch in switches.settings.chosen
        if switch.key in points
    )
    return f"top-1 error over {seeds} seeds: {words}"


def _has_learned(switches: Switches) -> bool:
    """Tell whether the network with all parts is at least a tenth better than guessing."""
    runs = switches.runs[ALL]
    return statistics.mean(r.top1_error for r in runs) < 90 * (1 - 1 / runs[0].classes)


def _meaning(activations: Activations | None, switches: Switches | None) -> Text:
    paragraphs = []
    if activations is not None:
        missed = [
            _NAMES[name]
            for name in ACTIVATIONS
            if len(_reached(activations, name)) < len(activations.curves[name])
        ]
        late = f" {' and '.join(missed)} did not come so far in every run." if missed else ""
        paragraphs.append(
            "ReLU and tanh: the paper gives neither the sizes of its four layers nor its batches "
            "or its first weights, so that the direction of the ratio can be compared with it, and "
            f"its size only roughly.{late}"
        )
    if switches is not None:
        runs = switches.runs[ALL]
        told, alike = _told_apart(switches)
        error, guess = statistics.mean(r.top1_error for r in runs), 100 * (1 - 1 / runs[0].classes)
        paragraphs.append(
            f"With and without: the paper trained on 1.2 million images of 1,000 classes at 224 "
            f"pixels for about 90 epochs, these networks on {runs[0].images:,} of "
            f"{runs[0].classes} classes at 64 pixels for {switches.settings.epochs:g}, with AdamW. "
            f"All parts together have a top-1 error of {error:.1f} %, guessing {guess:.1f} %. "
            "What keeps a network from overfitting pays after many epochs; in a training as short "
            "as this it may cost more than it gains. So a difference here neither confirms nor "
            "refutes the paper's; it says what a part does to a small training."
        )
        paragraphs.append(
            f"Over {len(runs)} seeds the intervals of top-1 differences leave out 0 for "
            f"{', '.join(told) or 'no part'}; for {', '.join(alike) or 'no part'} they hold it, so "
            "that these runs do not tell gain from loss. With so many comparisons about one in "
            "twenty would leave out 0 by chance alone."
            if told or alike
            else "There is one seed: a difference may be chance, and no interval can be given."
        )
    return Text("What this says, and what not", "\n\n".join(paragraphs))


def _step_section(times: tuple[StepTime, StepTime] | None) -> Section:
    title = "A training step on a GPU and on the CPU"
    if times is None:
        return Text(title, "No GPU was at hand: the ratio was not measured.")
    gpu, cpu = times
    rows = [
        Row(each.device, (Cell(1000 * each.seconds), Cell(cpu.seconds / each.seconds)))
        for each in (gpu, cpu)
    ]
    return Table(
        title,
        (Column("milliseconds"), Column("times as fast as the CPU")),
        tuple(rows),
        row_header="Device",
        unit="",
        best="none",
        caption=f"Forward pass, backward pass and update of {ARCH}, {BATCH} images in float32 "
        "(without TF32), the median of three rounds.",
    )


def _with_interval(values: Sequence[float]) -> str:
    """Word a mean with its interval: ``+1.4 (-0.3 to +3.1)``."""
    if not values:
        return "–"
    ends = mean_interval(values)
    mean = f"{statistics.mean(values):+.1f}"
    return mean if ends is None else f"{mean} ({ends[0]:+.1f} to {ends[1]:+.1f})"
