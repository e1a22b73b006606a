"""What scikit-learn expects of a classifier that is trained already.

Its ``clone``, ``is_classifier`` and ``check_is_fitted`` work; scikit-learn need not be installed.
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from emodc.inference.prediction import Prediction
from emodc.model.model import Model


class TrainedEstimator:
    """Makes a classifier around a model one of scikit-learn's estimators."""

    _estimator_type = "classifier"
    model: Model
    predict: Callable[..., list[Prediction]]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters: the model, which is trained and not changed."""
        return {"model": self.model}

    def set_params(self, **params: Any) -> "TrainedEstimator":
        """Change the model.

        Raises:
            ValueError: another parameter is given.
        """
        for name, value in params.items():
            if name != "model":
                raise ValueError(f"unknown parameter '{name}': the only one is model")
            self.model = value
        return self

    def __sklearn_clone__(self) -> "TrainedEstimator":
        return copy.copy(self)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=False),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(two_d_array=False, three_d_array=True, string=True),
            requires_fit=False,
        )

    def score(self, images: Any, labels: Iterable[str | int], **options: Any) -> float:
        """Return the accuracy: the share of images whose largest face has the right label.

        An image in which no face is found counts as wrong.

        Args:
            images: as for `predict`.
            labels: of the images: names of classes, or their places in label order.
            **options: as for `predict`, ``from_crops`` too.

        Raises:
            ValueError: as for `predict`; an image cannot be read; a label is none of the classes;
                or there are not as many labels as images.
        """
        classes = self.model.answers.classes
        truth = [_class_name(label, classes) for label in labels]
        first: dict[int, Prediction] = {}
        for row in self.predict(images, **options):
            if row.status == "unreadable":
                raise ValueError(f"image {row.image}: {row.error}")
            first.setdefault(row.image, row)
        if len(first) != len(truth) or not truth:
            raise ValueError(f"{len(first)} images and {len(truth)} labels: give one for each")
        return sum(first[n].label == label for n, label in enumerate(truth)) / len(truth)


def _class_name(label: str | int, classes: Sequence[str]) -> str:
    if isinstance(label, str) and label in classes:
        return label
    if not isinstance(label, str) and label in range(len(classes)):
        return classes[int(label)]
    raise ValueError(f"no class {label!r}: {', '.join(classes)}, or 0 to {len(classes) - 1}")
