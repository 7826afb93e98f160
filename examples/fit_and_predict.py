"""Images to a classifier: ``python examples/fit_and_predict.py [FOLDER]``, as for extract.py."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import decaf

PHOTOS = Path(__file__).resolve().parents[2] / "shared/data/pacs-mini/photo"


def main(folder: Path) -> None:
    """Keep one image of each class back, fit a classifier to the others, and ask it.

    Parameters
    ----------
    folder : Path
        Images, in a folder for each class.
    """
    images = {each.name: sorted(each.iterdir()) for each in sorted(folder.iterdir())}
    fitted_to = [(path, name) for name, paths in images.items() for path in paths[1:]]
    new = [paths[0] for paths in images.values()]

    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch, "photos.head")
        fitted = decaf.fit(
            [path for path, _ in fitted_to],
            labels=[name for _, name in fitted_to],
            layer="fc6",
            out=out,
            progress=False,
        )
        estimate = fitted.report.estimate
        assert estimate is not None  # which it is where no images are held out
        low, high = estimate.interval
        print(f"fitted to {len(fitted_to)} images of {len(images)} classes")
        print(
            f"accuracy on unseen images: {estimate.accuracy:.1%} "
            f"(95 % interval {low:.1%} to {high:.1%}; guessing: {estimate.baseline:.1%})"
        )

        classifier = decaf.load_classifier(out)
        for path, answer in zip(new, classifier.predict(new, top=1), strict=True):
            ((name, probability),) = answer.classes
            print(f"{path.parent.name}/{path.name}: {name} ({probability:.2f})")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PHOTOS)
