"""A network adapted to a folder: ``python examples/fine_tune.py [FOLDER [EPOCHS]]``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import decaf
from decaf.finetuning import FinetuneSettings

PHOTOS = Path(__file__).resolve().parents[2] / "shared/data/pacs-mini/photo"


def main(folder: Path, epochs: float | None = None) -> None:
    """Fine-tune, compare with the frozen network, and ask the result.

    Parameters
    ----------
    folder : Path
        Images, in a folder for each class.
    epochs : float, optional
        Passes over the training images.
    """
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch, "photos.safetensors")
        result = decaf.finetune(
            folder, out=out, settings=FinetuneSettings(epochs=epochs), progress=False
        )
        training = sum(count for _, count, _ in result.classes)
        print(f"{len(result.classes)} classes, {training} training images")
        for name, accuracy in (("frozen", result.frozen), ("fine-tuned", result.tuned)):
            print(f"{name}: {accuracy.right} of {accuracy.images} validation images")
        print(result.verdict)

        # What was written is a network like any other.
        path = sorted(path for path in folder.rglob("*") if path.is_file())[0]
        classifier = decaf.load_classifier(out)
        for name, probability in classifier.predict(path, top=2)[0].classes:
            print(f"{path.parent.name}/{path.name}: {name} ({probability:.2f})")


if __name__ == "__main__":
    main(
        Path(sys.argv[1]) if len(sys.argv) > 1 else PHOTOS,
        *(float(epochs) for epochs in sys.argv[2:3]),
    )
