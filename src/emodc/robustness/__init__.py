"""Robustness: models side by side on corrupted and attacked faces."""

from emodc.robustness.attacked import AttackPlan
from emodc.robustness.comparison import Comparison
from emodc.robustness.conditions import SUITE_NAMES
from emodc.robustness.subjects import ModelSubject, SequentialSubject, Subject

__all__ = [
    "AttackPlan",
    "Comparison",
    "ModelSubject",
    "SUITE_NAMES",
    "SequentialSubject",
    "Subject",
]
