"""Analysis: figures of what training made of the errors of diffusion classifiers."""

from emodc.experiments.analysis.measurement import Measurement
from emodc.experiments.analysis.output import analyze, write_analysis

__all__ = ["Measurement", "analyze", "write_analysis"]
