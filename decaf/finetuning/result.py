"""The result of a fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decaf.backbone.weights.state import Weights
from decaf.finetuning.keep_rule import Accuracy
from decaf.images.listing.names import path_text
from decaf.runtime.wording import counted

if TYPE_CHECKING:
    from decaf.backbone.model import Backbone

__all__ = ["Finetuned"]

# A difference this likely between equals is taken for chance.
CHANCE = 0.05


@dataclass(frozen=True, eq=False)
class Finetuned:
    """A network that was fine-tuned, and how it compares with the frozen one.

    Attributes
    ----------
    path, card, folder : Path or None
        The weights file, its card, and the folder with the log and the curves; None where nothing
        was written.
    weights : Weights
    tuned : Accuracy
        Accuracy of the network on the validation images, whose best state was chosen on them.
    frozen : Accuracy
        Accuracy of the logistic regression on the frozen fc7, on the same images.
    better : bool
        Whether fine-tuning beat the frozen head on the validation images: it names more of them
        rightly, and its calibrated loss is lower by more than a standard error of the difference.
    p_value : float
        How likely so large a difference in images named rightly is by chance (McNemar's exact
        test), counted in groups where the images are in such.
    is_start : bool
        Whether what was trained did not beat what it began as, the frozen network with the head as
        its last layer, so that the network is that one.
    passed_over : Accuracy or None
        Accuracy of the state that named most validation images rightly, where it was not kept
        because its calibrated loss is not clearly lower.
    best_epoch, epochs : float
        Epochs after which the state was kept, and epochs done in all.
    seconds : float
        Time spent on training.
    batch_size : int
        Images a step.
    classes : list of (str, int, int)
        Names of the classes, with their numbers of training and validation images.
    bad : list of (split, name, status, message)
        Images that could not be read, and were left out.
    history : list of dict
        The rows of the log; see `decaf.train.log.COLUMNS`.
    """

    path: Path | None
    card: Path | None
    folder: Path | None
    weights: Weights
    tuned: Accuracy
    frozen: Accuracy
    better: bool
    p_value: float
    is_start: bool
    passed_over: Accuracy | None
    best_epoch: float
    epochs: float
    seconds: float
    batch_size: int
    classes: list[tuple[str, int, int]]
    bad: list[tuple[str, str, str, str]]
    history: list[dict[str, float]] = field(repr=False)

    @property
    def compared(self) -> dict[str, Accuracy]:
        """The accuracies that were measured, by their names in a table."""
        tuned = {"fine-tuned": self.tuned}
        if self.passed_over is not None:
            tuned = {"fine-tuned, not kept": self.passed_over}
        return {"frozen fc7 + head": self.frozen, **tuned}

    @property
    def verdict(self) -> str:
        """The sentence that says which network to use."""
        if self.better:
            text = "fine-tuning beat the frozen head on validation: use the fine-tuned network"
            if self.p_value > CHANCE:
                grouped = self.tuned.independent is not None
                units = "groups alone" if grouped else f"images alone, of {self.tuned.images}"
                text += (
                    f"; counted in {units}, the difference may be chance (p = {self.p_value:.2f})"
                )
            return text
        text = f"{self._why_not()}: use the frozen head"
        if self.is_start:
            return (
                f"{text}, which the network written is (the frozen layers, with the head as the "
                "last)"
            )
        if self.tuned.right == self.frozen.right:
            text += ", which is as good and simpler"
        return f"{text}; the network written is the fine-tuned one"

    def _why_not(self) -> str:
        best = self.passed_over or self.tuned
        if best.right <= self.frozen.right:
            return "fine-tuning did not beat the frozen head on validation"
        return (
            f"fine-tuning named more of {counted(best.images, 'validation image')} rightly than "
            "the frozen "
            f"head ({best.right} against {self.frozen.right}), but its calibrated loss is not "
            f"clearly lower ({best.calibrated_loss:.3f} against "
            f"{self.frozen.calibrated_loss:.3f}), so that the difference may be chance"
        )

    @classmethod
    def from_dict(
        cls, values: dict[str, Any], weights: Weights, history: list[dict[str, float]]
    ) -> Finetuned:
        """Make it of what `to_dict` returned, and of what that leaves out.

        Parameters
        ----------
        values : dict
        weights : Weights
        history : list of dict
            The rows of the log.
        """

        def path(name: str) -> Path | None:
            return None if values[name] is None else Path(values[name])

        over = values["passed_over"]
        return cls(
            path=path("path"),
            card=path("card"),
            folder=path("folder"),
            weights=weights,
            tuned=Accuracy.from_dict(values["tuned"]),
            frozen=Accuracy.from_dict(values["frozen"]),
            passed_over=over and Accuracy.from_dict(over),
            classes=[(each["name"], each["train"], each["val"]) for each in values["classes"]],
            bad=[
                (each["split"], each["name"].encode(), each["status"], each["message"])
                for each in values["bad"]
            ],
            history=history,
            better=values["better"],
            p_value=values["p_value"],
            is_start=values["is_start"],
            best_epoch=values["best_epoch"],
            epochs=values["epochs"],
            seconds=values["seconds"],
            batch_size=values["batch_size"],
        )

    def backbone(self) -> Backbone:
        """Return the network, ready for use."""
        from decaf.backbone.model import load_backbone

        return load_backbone(self.weights)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values, without the history."""
        return {
            "path": None if self.path is None else str(self.path),
            "card": None if self.card is None else str(self.card),
            "folder": None if self.folder is None else str(self.folder),
            "sha256": self.weights.sha256,
            "tuned": self.tuned.to_dict(),
            "frozen": self.frozen.to_dict(),
            "better": self.better,
            "p_value": self.p_value,
            "is_start": self.is_start,
            "passed_over": None if self.passed_over is None else self.passed_over.to_dict(),
            "compared": {name: each.to_dict() for name, each in self.compared.items()},
            "verdict": self.verdict,
            "best_epoch": self.best_epoch,
            "epochs": self.epochs,
            "seconds": round(self.seconds, 3),
            "batch_size": self.batch_size,
            "classes": [
                {"name": name, "train": train, "val": val} for name, train, val in self.classes
            ],
            "bad": [
                {
                    "split": split,
                    "name": path_text(name),
                    "status": status,
                    "message": message,
                }
                for split, name, status, message in self.bad
            ],
        }
