"""Which models' errors can be compared: those of the same noise, in the same space."""

from collections.abc import Mapping

from emodc.backbones.base import Classifier
from emodc.model.model import Model


def require_comparable(models: Mapping[str, Model]) -> None:
    """Complain of models whose errors cannot stand side by side.

    Args:
        models: by the name that a complaint uses.

    Raises:
        ValueError: there is none, one predicts no noise, or one has another schedule, codec or
            label set than the first.
    """
    if not models:
        raise ValueError("give at least one model")
    for name, model in models.items():
        if isinstance(model.backbone, Classifier):
            raise ValueError(
                f"model '{name}' is a discriminative classifier: it has no prompts and predicts no "
                "noise, so it has no errors to analyze"
            )
    (first_name, first), *others = models.items()
    for name, model in others:
        for what, its, needed in (
            ("noise schedule", model.settings.schedule, first.settings.schedule),
            ("codec", model.settings.codec, first.settings.codec),
            ("label set", model.label_set, first.label_set),
        ):
            if its != needed:
                raise ValueError(
                    f"models '{name}' and '{first_name}' cannot be compared: another {what}"
                )
