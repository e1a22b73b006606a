"""EmoDC: facial expression recognition with a conditional diffusion model as the classifier.

    import emodc

    classifier = emodc.EmotionClassifier.from_pretrained("face48")
    rows = classifier.predict("photo.jpg")

Importing the package loads nothing heavy: the names below come in when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emodc.calibration.calibrate import calibrate
    from emodc.data import FaceData, open_data, open_release
    from emodc.evaluation.evaluate import evaluate
    from emodc.explain.explanation import Explanation
    from emodc.faces.detector import FaceDetector
    from emodc.inference.classifier import EmotionClassifier
    from emodc.inference.prediction import Prediction, VideoPrediction
    from emodc.inference.prediction_list import Predictions
    from emodc.model.label_shift import with_prior
    from emodc.model.model import Model
    from emodc.model.store import load_model, save_model
    from emodc.reports.evaluation_report import EvaluationReport
    from emodc.training.loop import train
    from emodc.training.recipe import Recipe, load_recipe

    __version__: str

__all__ = [
    "EmotionClassifier",
    "Prediction",
    "Explanation",
    "Predictions",
    "VideoPrediction",
    "FaceDetector",
    "Model",
    "load_model",
    "save_model",
    "FaceData",
    "open_data",
    "open_release",
    "Recipe",
    "load_recipe",
    "train",
    "evaluate",
    "EvaluationReport",
    "calibrate",
    "with_prior",
    "__version__",
]

_HOME = {
    "EmotionClassifier": "emodc.inference.classifier",
    "Prediction": "emodc.inference.prediction",
    "Explanation": "emodc.explain.explanation",
    "Predictions": "emodc.inference.prediction_list",
    "VideoPrediction": "emodc.inference.prediction",
    "FaceDetector": "emodc.faces.detector",
    "Model": "emodc.model.model",
    "load_model": "emodc.model.store",
    "save_model": "emodc.model.store",
    "FaceData": "emodc.data",
    "open_data": "emodc.data",
    "open_release": "emodc.data",
    "Recipe": "emodc.training.recipe",
    "load_recipe": "emodc.training.recipe",
    "train": "emodc.training.loop",
    "evaluate": "emodc.evaluation.evaluate",
    "EvaluationReport": "emodc.reports.evaluation_report",
    "calibrate": "emodc.calibration.calibrate",
    "with_prior": "emodc.model.label_shift",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        return import_module("importlib.metadata").version("emodc")
    if name not in _HOME:
        raise AttributeError(f"module 'emodc' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
