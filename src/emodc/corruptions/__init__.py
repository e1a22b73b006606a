"""Corrupted faces: what a camera, a codec or a hand does to an image, in five severities."""

from emodc.corruptions.registry import CORRUPTIONS, SUITES, Corruption, corrupt
from emodc.corruptions.sequences import SEQUENCES, flip_rate, sequence

__all__ = [
    "CORRUPTIONS",
    "SUITES",
    "Corruption",
    "corrupt",
    "SEQUENCES",
    "flip_rate",
    "sequence",
]
