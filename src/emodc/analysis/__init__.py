"""Analysis: figures of what training made of the errors of diffusion classifiers."""

from emodc.analysis.measurement import Measurement
from emodc.analysis.output import analyze, write_analysis

__all__ = ["Measurement", "analyze", "write_analysis"]
