"""The study: training objectives side by side, each tuned alike on validation data."""

from emodc.experiments.study.arms import Arm, Setting, chosen_arms
from emodc.experiments.study.protocol import Study

__all__ = ["Arm", "Setting", "Study", "chosen_arms"]
