"""Fine-tuning: a trained network adapted, all of it, to a folder of images.

What is named here is loaded when it is first used, as in `decaf` itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from decaf.lazy import lazy_names

if TYPE_CHECKING:
    from decaf.finetuning.estimator import FineTuneClassifier
    from decaf.finetuning.fine_tune import finetune
    from decaf.finetuning.result import Finetuned
    from decaf.finetuning.settings import FinetuneSettings

__all__ = ["FineTuneClassifier", "FinetuneSettings", "Finetuned", "finetune"]

__getattr__, __dir__ = lazy_names(__name__)
