"""How well models tell faces like those of training from what is no such face."""

from emodc.experiments.outliers.measurement import Outliers

__all__ = ["Outliers"]
