"""Datasets of labeled faces, opened by name."""

from emodc.data.face_data import SPLITS, FaceData
from emodc.data.registry import dataset_names, open_data, open_release
from emodc.data.release import Release

__all__ = ["SPLITS", "FaceData", "Release", "dataset_names", "open_data", "open_release"]
