"""Robustness: models side by side on corrupted and attacked faces."""

from emodc.experiments.robustness.attack_tasks import AttackPlan
from emodc.experiments.robustness.comparison import Comparison
from emodc.experiments.robustness.conditions import SUITE_NAMES
from emodc.experiments.robustness.subjects import ModelSubject, SequentialSubject, Subject

__all__ = [
    "AttackPlan",
    "Comparison",
    "ModelSubject",
    "SUITE_NAMES",
    "SequentialSubject",
    "Subject",
]
