"""From a video to rows: frames, people followed through them, and what their faces say.

One batch of face crops is held in memory at a time, whatever the length of the video. After each
batch `VideoAnalysis.state` tells all that is needed to go on from there.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from emodc.faces.camera import Camera
from emodc.faces.detector import crop_face
from emodc.faces.frames import Footage, Frame, Selection
from emodc.faces.video import VideoFile
from emodc.inference.prediction import VideoPrediction
from emodc.inference.temporal import DRAWS, HALF_LIFE, Sight, TemporalScorer
from emodc.inference.tracking import DETECT_EVERY, Detector, TrackedFace, Tracker
from emodc.model.model import Model

_BATCH = 16  # faces scored together


class VideoOptions(TypedDict, total=False):
    """How a video is looked at; every option may be left out.

    Attributes:
        every: only frames whose number is a multiple of this; 1 if not given.
        rate: at most so many frames a second, instead of ``every``.
        start: seconds; frames before it are left out.
        end: seconds; frames from it on are left out.
        detect_every: frames between detections, see `emodc.inference.tracking.Tracker`.
        draws: of (t, eps) for each face of a frame.
        half_life: seconds after which a frame's evidence counts half; 0: frames on their own.
        seed: of the draws.
    """

    every: int
    rate: float | None
    start: float
    end: float | None
    detect_every: int
    draws: int
    half_life: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class VideoSettings:
    """How a video is looked at; see `VideoOptions`.

    Attributes:
        selection: which frames.
        detect_every: see `VideoOptions`.
        draws: see `VideoOptions`.
        half_life: see `VideoOptions`.
        seed: see `VideoOptions`.
    """

    selection: Selection = field(default_factory=Selection)
    detect_every: int = DETECT_EVERY
    draws: int = DRAWS
    half_life: float = HALF_LIFE
    seed: int = 0

    @classmethod
    def of(cls, options: VideoOptions) -> "VideoSettings":
        """Return the settings that options stand for.

        Raises:
            ValueError: a number is out of range.
            TypeError: an option is unknown.
        """
        chosen: dict[str, Any] = dict(options)
        known = VideoOptions.__annotations__
        if unknown := [name for name in chosen if name not in known]:
            raise TypeError(f"unknown option '{unknown[0]}': give {', '.join(known)}")
        frames = {name: chosen.pop(name) for name in Selection.__annotations__ if name in chosen}
        return cls(selection=Selection(**frames), **chosen)


class VideoAnalysis:
    """Goes through one video.

    Args:
        model: classifies the faces.
        detector: finds them.
        footage: where the frames come from.
        settings: how they are looked at.

    Raises:
        ValueError: a setting is out of range, or the model can only be shown crops.
        ImportError: the extra ``faces`` is not installed.
    """

    def __init__(
        self, model: Model, detector: Detector, footage: Footage, settings: VideoSettings
    ) -> None:
        self._model, self._footage, self._settings = model, footage, settings
        self._geometry = model.require_geometry()
        self._tracker = Tracker(detector, settings.detect_every)
        self._scorer = TemporalScorer(model, settings.draws, settings.half_life, settings.seed)
        decision, known = model.decision, len(model.label_set)
        least = decision.least_probability
        self._thresholds = None if least is None else decision.thresholds(least, known).tolist()
        self._resumed: Mapping[str, Any] | None = None
        self._time: float | None = None
        # A camera's faces are answered at once; a file's wait until there are enough of them.
        self._batch = _BATCH if footage.duration is not None else 1

    def batches(self) -> Iterator[list[VideoPrediction]]:
        """Go through the video: the rows of some whole frames at a time, in order.

        Raises:
            ValueError: the video cannot be read any more, or the model answers NaN.
        """
        since = None if self._resumed is None else float(self._resumed["time"])
        frames = self._footage.frames(self._settings.selection, since)
        if self._resumed is not None:
            self._take_up(self._resumed, next(frames, None))
        waiting: list[_Seen] = []
        faces = 0
        for frame in frames:
            seen = self._look(frame)
            waiting.append(seen)
            faces += len(seen.faces)
            self._time = frame.time
            if faces >= self._batch or len(waiting) >= 4 * self._batch:
                yield self._rows(waiting)
                waiting, faces = [], 0
        if waiting:
            yield self._rows(waiting)

    def state(self) -> dict[str, Any]:
        """Return what `resume` needs to go on after the last batch, as JSON values."""
        return {
            "time": self._time,
            "tracker": self._tracker.state(),
            "evidence": self._scorer.state(),
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on after the batch after which another analysis had this `state`.

        Raises:
            ValueError: this is not such a state.
        """
        try:
            self._scorer.restore(state["evidence"])
            self._time = float(state["time"])
            self._resumed = {"time": self._time, "tracker": state["tracker"]}
        except (KeyError, TypeError) as error:
            raise ValueError("not the state of an analysis") from error

    def _take_up(self, state: Mapping[str, Any], last: Frame | None) -> None:
        if last is None or last.time != state["time"]:
            raise ValueError(
                f"{self._footage.name}: has no frame at {state['time']:g} s, where the analysis "
                "stopped; it was changed since"
            )
        self._tracker.restore(state["tracker"], last.image)

    def _look(self, frame: Frame) -> "_Seen":
        faces, crops = [], []
        # At the codec's own size, so that the pixels are resampled only once.
        size = self._model.settings.codec.size
        for tracked in self._tracker(frame.image, frame.time):
            try:
                crops.append(crop_face(frame.image, tracked.face, self._geometry, size))
            except ValueError:  # its landmarks coincide
                continue
            faces.append(tracked)
        return _Seen(frame.index, frame.time, faces, crops)

    def _rows(self, waiting: Sequence["_Seen"]) -> list[VideoPrediction]:
        crops = [crop for seen in waiting for crop in seen.crops]
        sights = [Sight(face.person, seen.time) for seen in waiting for face in seen.faces]
        answers = iter(self._probabilities(crops, sights))
        rows = []
        for seen in waiting:
            if not seen.faces:
                rows.append(VideoPrediction(seen.index, seen.time, None, "no_face"))
            rows += [self._row(seen, face, next(answers)) for face in seen.faces]
        return rows

    def _probabilities(
        self, crops: Sequence[NDArray[np.uint8]], sights: Sequence[Sight]
    ) -> list[list[float]]:
        if not crops:
            return []
        x0 = self._model.settings.codec.encode(crops, self._model.device)
        answers: list[list[float]] = self._scorer(x0, sights).tolist()
        return answers

    def _row(self, seen: "_Seen", face: TrackedFace, answer: Sequence[float]) -> VideoPrediction:
        p = dict(zip(self._model.answers.classes, answer, strict=True))
        least = self._thresholds
        return VideoPrediction(
            frame=seen.index,
            time=seen.time,
            person=face.person,
            status="ok",
            box=face.face.box,
            landmarks=tuple((float(x), float(y)) for x, y in face.face.landmarks),
            detection_score=face.face.score if face.detected else None,
            label=max(p, key=p.__getitem__),
            probabilities=p,
            prediction_set=None
            if least is None
            else tuple(k for k, needed in zip(p, least, strict=True) if p[k] >= needed),
            draws=self._scorer.draws,
        )


@dataclass(frozen=True)
class _Seen:
    """A frame's faces, which wait to be scored."""

    index: int
    time: float
    faces: Sequence[TrackedFace]
    crops: Sequence[NDArray[np.uint8]]


def open_footage(source: str | Path | int | Footage) -> Footage:
    """Return what frames come from.

    Args:
        source: path of a video, number of a camera, or what has frames already.

    Raises:
        ValueError: it cannot be opened.
        ImportError: the extra ``video`` is not installed.
    """
    if isinstance(source, int):
        return Camera(source)
    return VideoFile(Path(source)) if isinstance(source, str | Path) else source
