"""Rows as flat records, one value a column: for tables in files and in pandas."""

from collections.abc import Mapping, Sequence

from emodc.faces.geometry import LANDMARKS
from emodc.inference.prediction import Prediction, VideoPrediction

Value = str | int | float | None
Columns = Mapping[str, type]
"""The columns in order, and what they hold: str, int or float."""

_CORNERS = ("x0", "y0", "x1", "y1")
_POINTS = tuple(f"{name}_{axis}" for name in LANDMARKS for axis in "xy")


def image_columns(classes: Sequence[str]) -> Columns:
    """Return the columns of images' rows.

    Args:
        classes: in label order; each has a column of probabilities.
    """
    return {
        **{"file": str, "face": int, "status": str, "label": str},
        **dict.fromkeys((*classes, *_CORNERS, "detection_score"), float),
        **{"prediction_set": str, "trunk_passes": int, "typicality": float, "error": str},
    }


def image_record(row: Prediction, classes: Sequence[str]) -> dict[str, Value]:
    """Return the values of an image's row, by `image_columns`."""
    return {
        **{"file": row.file, "face": row.face, "status": row.status, "label": row.label},
        **_probabilities(row, classes),
        **dict(zip(_CORNERS, row.box or (None,) * 4, strict=True)),
        "detection_score": row.detection_score,
        "prediction_set": _joined(row),
        "trunk_passes": row.trunk_passes,
        "typicality": row.typicality,
        "error": row.error,
    }


def video_columns(classes: Sequence[str]) -> Columns:
    """Return the columns of a video's rows.

    Args:
        classes: as for `image_columns`.
    """
    return {
        **{"frame": int, "time": float, "person": int, "status": str, "label": str},
        **dict.fromkeys((*classes, *_CORNERS, *_POINTS, "detection_score"), float),
        **{"prediction_set": str, "draws": int},
    }


def video_record(row: VideoPrediction, classes: Sequence[str]) -> dict[str, Value]:
    """Return the values of a video's row, by `video_columns`."""
    points: list[float] | list[None] = [v for point in row.landmarks or () for v in point]
    points = points or [None] * len(_POINTS)
    return {
        **{"frame": row.frame, "time": row.time, "person": row.person, "status": row.status},
        "label": row.label,
        **_probabilities(row, classes),
        **dict(zip(_CORNERS, row.box or (None,) * 4, strict=True)),
        **dict(zip(_POINTS, points, strict=True)),
        "detection_score": row.detection_score,
        "prediction_set": _joined(row),
        "draws": row.draws,
    }


def _probabilities(
    row: Prediction | VideoPrediction, classes: Sequence[str]
) -> dict[str, float | None]:
    found = row.probabilities or {}
    return {name: found.get(name) for name in classes}


def _joined(row: Prediction | VideoPrediction) -> str | None:
    return None if row.prediction_set is None else ";".join(row.prediction_set)
