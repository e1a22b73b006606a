"""Data sets of labelled faces, opened by name."""

from emodc.data.base import SPLITS, FaceData
from emodc.data.registry import data_set_names, open_data

__all__ = ["SPLITS", "FaceData", "data_set_names", "open_data"]
