"""What is said of a face in an image."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Prediction:
    """One row of the answer: a face and its expression, or why an image has none.

    Attributes:
        image: position of the image among those asked about, from 0.
        file: the image's path; None for an image given in memory.
        status: ``ok``; ``no_face``: no face was found; ``unreadable``: damaged, missing, not a
            image, or too large; ``atypical``: a face was found, but rejected, as it is unlike the
            faces that the model knows.
        error: one line for the reader unless ``status`` is ``ok``.
        face: number of the face in its image, from 0, largest first.
        box: x0, y0, x1, y1 in pixels; the whole image if no face was looked for.
        landmarks: five (x, y) in pixels, in the order of `emodc.faces.geometry.LANDMARKS`; None if
            no face was looked for.
        detection_score: the detector's confidence in [0, 1]; None if no face was looked for.
        label: name of the most probable class.
        probabilities: by class name, in label order; they sum to 1.
        prediction_set: the classes that the true one is among, with the coverage the model was
            calibrated for; more than one means uncertain. None if it was not calibrated.
        trunk_passes: draws taken; on a network whose prompts share a trunk, passes of the trunk.
        prompt_evaluations: (draw, class) pairs evaluated.
        gap_standard_error: of the mean gap between the answer and the runner-up, in units of
            the errors; None with a single draw.
        typicality: p-value of the face being like those that the model was trained on, in (0, 1];
            None unless `reject` was given.

    Without a face, everything after ``error`` is None; of an atypical one, everything about its
    expression.
    """

    image: int
    file: str | None
    status: Literal["ok", "no_face", "unreadable", "atypical"]
    error: str | None = None
    face: int | None = None
    box: tuple[float, float, float, float] | None = None
    landmarks: tuple[tuple[float, float], ...] | None = None
    detection_score: float | None = None
    label: str | None = None
    probabilities: Mapping[str, float] | None = None
    prediction_set: tuple[str, ...] | None = None
    trunk_passes: int | None = None
    prompt_evaluations: int | None = None
    gap_standard_error: float | None = None
    typicality: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes by name, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class VideoPrediction:
    """One row of a video's answer: a person in a frame, or a frame without a face.

    Attributes:
        frame: the frame's number in the video, from 0 in the order of display.
        time: its presentation timestamp in seconds.
        person: whose face it is: a number that a person keeps, from 1 in the order of appearance.
        status: ``ok``, or ``no_face``: no face was found in the frame.
        box: x0, y0, x1, y1 in pixels of the frame as displayed.
        landmarks: five (x, y) in pixels, in the order of `emodc.faces.geometry.LANDMARKS`.
        detection_score: the detector's confidence in [0, 1]; None where the face was not detected
            in this frame, but followed from an earlier one.
        label: name of the most probable class.
        probabilities: by class name, in label order; they sum to 1.
        prediction_set: see `Prediction`; the coverage is that of single images.
        draws: draws of (t, eps) taken for this frame; the answer also rests on those before.

    Without a face, everything after ``status`` is None, and so is ``person``.
    """

    frame: int
    time: float
    person: int | None
    status: Literal["ok", "no_face"]
    box: tuple[float, float, float, float] | None = None
    landmarks: tuple[tuple[float, float], ...] | None = None
    detection_score: float | None = None
    label: str | None = None
    probabilities: Mapping[str, float] | None = None
    prediction_set: tuple[str, ...] | None = None
    draws: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes by name, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "VideoPrediction":
        """Read what `to_dict` returned, from JSON or not.

        Raises:
            ValueError: these are no such values.
        """
        try:
            known = dict(values)
            for name in ("box", "prediction_set"):
                known[name] = None if known[name] is None else tuple(known[name])
            if known["landmarks"] is not None:
                known["landmarks"] = tuple((x, y) for x, y in known["landmarks"])
            return cls(**known)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError("not a row of a video's answer") from error
