"""Data sets of labelled faces, opened by name."""

from emodc.data.face_data import SPLITS, FaceData
from emodc.data.registry import data_set_names, open_data, open_release
from emodc.data.release import Release

__all__ = ["SPLITS", "FaceData", "Release", "data_set_names", "open_data", "open_release"]
