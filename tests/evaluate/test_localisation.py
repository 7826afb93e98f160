"""The challenge's rule and the form of its submissions."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import decaf.images
from decaf.errors import InputError, SettingError
from decaf.evaluate.class_names import Alignment
from decaf.evaluate.localisation import LocalisationSettings, measure_boxes
from decaf.evaluate.localisation_rule import Guesses, guess_errors
from decaf.evaluate.submission import read_submission, score_submission, write_submission
from decaf.heads.feature_identity import FeatureIdentity
from decaf.runtime.settings import ComputeSettings
from decaf.train.localiser import Localiser, LocatedBoxes
from decaf.train.localiser_settings import LocaliserSettings

FAR = [0.9, 0.9, 1.0, 1.0]
WHOLE = [0.0, 0.0, 1.0, 1.0]


def guesses(*images: list[tuple[int, list[float]]]) -> Guesses:
    classes = np.full((len(images), 5), -1)
    boxes = np.zeros((len(images), 5, 4))
    for row, own in enumerate(images):
        for place, (code, box) in enumerate(own):
            classes[row, place], boxes[row, place] = code, box
    return Guesses(classes, boxes)


def test_a_guess_is_right_with_the_class_and_half_a_box() -> None:
    true = [np.array([[0, 0, 0.5, 1.0]]), np.array([FAR, WHOLE]), np.array([WHOLE]),
            np.array([WHOLE]), np.array([WHOLE])]  # fmt: skip
    answers = guesses(
        [(3, WHOLE)],  # overlaps by exactly a half
        [(1, FAR), (3, FAR)],  # the second of its boxes, with the second guess
        [(3, FAR), (2, WHOLE)],  # the box is that of another guess
        [(2, WHOLE)],
        [],
    )
    missed_class, missed_box = guess_errors(answers, np.full(5, 3), true)
    assert missed_class.tolist() == [False, False, False, True, True]
    assert missed_box.tolist() == [False, False, True, True, True]


def test_a_class_that_is_guessed_twice_may_have_two_boxes() -> None:
    answers = guesses([(3, FAR), (3, WHOLE)])
    assert not guess_errors(answers, np.array([3]), [np.array([WHOLE])])[1].any()


def test_a_submission_is_read_as_it_was_written(tmp_path: Path) -> None:
    sizes = np.array([[500, 375], [64, 64]])
    boxes = [[0.1, 0.2, 0.5, 0.8], WHOLE]
    answers = guesses([(1, boxes[0]), (1000, boxes[1])], [(8, [0.25, 0.5, 0.75, 1.0])])
    path = tmp_path / "submission.txt"
    write_submission(path, answers, sizes)
    assert path.read_text(encoding="utf-8") == "1 50 75 249 299 1000 0 0 499 374\n8 16 32 47 63\n"
    back = read_submission(path, sizes, 1000)
    assert back.classes.tolist() == answers.classes.tolist()
    assert back.boxes == pytest.approx(answers.boxes, abs=1e-9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 0 0 9 9\n", "has 1 line, one for each of 2 images"),
        ("1 0 0 9 9\n\n", "line 2: has 0 numbers; 1 to 5 guesses"),
        ("1 0 0 9 9\n1 0 0 9\n", "line 2: has 4 numbers"),
        ("1 0 0 9 9\n" + "1 0 0 9 9 " * 6 + "\n", "line 2: has 30 numbers"),
        ("1 0 0 9 9\n11 0 0 9 9\n", "line 2: names a class that is not one of 1 to 10"),
        ("1 0 0 9 9\n1 0 0 9 9.5\n", "line 2: holds something else than whole numbers"),
    ],
)
def test_a_submission_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "submission.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_submission(path, np.full((2, 2), 10), 10)


class KnownBoxes(Localiser):
    """A localiser that knows what it answers."""

    def __init__(self, located: LocatedBoxes) -> None:
        blind = {"whole_image": WHOLE, "centre_box": [0.25, 0.25, 0.75, 0.75]}
        identity = FeatureIdentity("net", "0" * 64, {}, {}, "center", "pool5", "fp32")
        super().__init__([], identity=identity, settings=LocaliserSettings(),
                         report={"blind_boxes": blind})  # fmt: skip
        self._located = located

    def network_among(self, networks: object) -> Any:
        return networks

    def predict(self, images: Any, **_: Any) -> LocatedBoxes:
        return self._located


def test_errors_are_those_of_a_case_made_by_hand(tmp_path: Path) -> None:
    left, right = [0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]
    # Four images of ants (0) and bees (1) with the true box at the left; the last has no box.
    relative = np.array([[left, right], [left, right], [right, left], [left, left]])
    located = LocatedBoxes(relative, np.full((4, 2), 100), np.ones(4, bool), ("ant", "bee"))
    table = tmp_path / "boxes.csv"
    rows = [f"{name}.png,0,0,49,99,100,100" for name in "abc"]
    table.write_text("\n".join(["path,x0,y0,x1,y1,width,height", *rows]))
    for name in "abcd":
        Image.new("RGB", (100, 100)).save(tmp_path / f"{name}.png")
    images = decaf.images.collect([str(tmp_path / f"{name}.png") for name in "abcd"],
                                  labels=["ant", "bee", "bee", "ant"])  # fmt: skip
    alignment = Alignment(("ant", "bee", "cat"), ("Ant", "Bee", "Cat"), (), np.array([0, 1]), ())
    guesses = np.array([[0, 1, 2, -1, -1], [0, 1, 2, -1, -1], [0, 1, 2, -1, -1],
                        [2, -1, -1, -1, -1]])  # fmt: skip
    settings = LocalisationSettings(table, KnownBoxes(located), submission=tmp_path / "out.txt")
    measured = measure_boxes(settings, images, guesses, alignment, [], ComputeSettings())
    assert (measured.images, measured.without_boxes) == (3, 1)
    assert measured.class_error == 0
    # The box of the bee is at the right in b, at the left in c; that of the ant is right in a.
    assert measured.error == pytest.approx(100 / 3)
    assert measured.error_of_first == pytest.approx(200 / 3)
    assert measured.error_given_class == pytest.approx(100 / 3)
    # The whole image is half the true box over its own area; the middle has a third.
    assert measured.blind_errors == {"whole_image": 0, "centre_box": 100}
    a, b, c = measured.examples
    assert (a.class_name, a.box, a.true) == ("Ant", tuple(left), (tuple(left),))
    assert (a.overlap, a.right) == (1, True)
    assert (b.path, b.class_name) == (str(tmp_path / "b.png"), "Bee")
    assert (b.box, b.right) == (tuple(right), False)
    assert (c.overlap, c.right) == (1, True)
    first = (tmp_path / "out.txt").read_text(encoding="utf-8").splitlines()[0]
    # A class without a box of its own gets the mean of those of all.
    assert first == "1 0 0 49 99 2 50 0 99 99 3 25 0 74 99"
    guesses[1] = -1  # an image that could not be read
    with pytest.raises(InputError, match="`submission` has a guess for each image, and 1 cannot"):
        measure_boxes(settings, images, guesses, alignment, [], ComputeSettings())
    settings = dataclasses.replace(settings, submission=None)
    measured = measure_boxes(settings, images, guesses, alignment, [], ComputeSettings())
    assert measured.images == 2


def test_boxes_and_what_predicts_them_belong_together(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="`boxes` and `localiser` belong together"):
        LocalisationSettings(boxes=tmp_path)
    with pytest.raises(SettingError, match="`submission` needs"):
        LocalisationSettings(submission=tmp_path / "out.txt")


def test_a_submission_is_scored_in_the_order_of_names(
    tmp_path: Path,
) -> None:
    for name in ("ant/2", "bee/1", "bee/3"):
        (tmp_path / "val" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "val" / f"{name}.png")
    table = tmp_path / "boxes.csv"
    rows = [f"{name}.png,0,0,49,99,100,100" for name in "123"]
    table.write_text("\n".join(["path,x0,y0,x1,y1,width,height", *rows]))
    guesses_file = tmp_path / "guesses.txt"
    # By path ant/2 comes first. Its box is right, the next is elsewhere, the last is of the ant.
    guesses_file.write_text("1 0 0 49 99\n2 50 0 99 99\n1 0 0 49 99\n")
    scores = score_submission(guesses_file, tmp_path / "val", table)
    assert scores == pytest.approx(
        {"images": 3, "class_error": 100 / 3, "error": 200 / 3, "error_of_first": 200 / 3}
    )
    table.write_text("path,x0,y0,x1,y1\n1.png,0,0,49,99\n")
    with pytest.raises(InputError, match="does not tell the size of"):
        score_submission(guesses_file, tmp_path / "val", table)
