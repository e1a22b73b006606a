"""Faces that keep their person's number from frame to frame.

Faces are detected every few frames and followed in between (`emodc.inference.flow`). Where a
detector has answered, its faces are given to the persons known so that the total cost is least (the
Hungarian algorithm), by how much their boxes overlap, how far their centers are from where they
were expected, and their landmarks likewise. A person who is hidden for a moment is expected to move
on as before, so that two who cross keep their numbers (as in Bewley et al., "Simple Online and
Realtime Tracking", ICIP 2016).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from emodc.faces.detector import Face
from emodc.inference.flow import Flow, area

DETECT_EVERY = 5
"""Frames from one detection to the next, unless a face is lost before."""

_CERTAIN = 0.5  # score of a face with which a person is first seen; a weaker one goes on with it
_MEMORY = 1.0  # seconds for which a hidden person is expected back
_MISSES = 3  # detections that a person must be missing in before it is forgotten
_SMOOTHING = 0.25  # seconds over which velocities are averaged
_REACH = 1.0  # sides of a face that it may be from where it was expected,
_REACH_GROWTH = 2.0  # and so many more for every second since it was seen,
_REACH_MOST = 3.0  # up to these
_CUT = 0.1  # mean difference of gray values: more, and every face lost, is another scene
_NEVER = 1e6  # the cost of what must not be


class Detector(Protocol):
    """Finds faces, as `emodc.faces.detector.FaceDetector` does."""

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """Return the faces in an image, (H, W, 3) uint8 RGB."""


@dataclass(frozen=True, eq=False)
class TrackedFace:
    """A face in a frame.

    Attributes:
        person: who it is: the number of the person, from 1 in the order of appearance.
        face: where it is, with the score of the last detection.
        detected: whether it was detected in this frame, or followed from an earlier one.
    """

    person: int
    face: Face
    detected: bool


@dataclass(frozen=True, eq=False)
class _Track:
    """What is known of a person.

    Attributes:
        velocity: (2,) of the center, in pixels a second.
        seen: time of the last frame that showed the face, in seconds.
        missed: detections since, that did not find it.
    """

    person: int
    face: Face
    velocity: NDArray[np.float64]
    seen: float
    missed: int = 0

    def shifted(self, seconds: float) -> Face:
        """Return where the face is expected after some time."""
        step = self.velocity * seconds
        return moved(self.face, np.column_stack([np.eye(2), step]))


class Tracker:
    """Follows the faces of one video, frame by frame.

    Args:
        detector: finds them.
        detect_every: frames from one detection to the next. There is one in between where a
            face was lost, or faces overlap. With 1, every frame is shown to the detector.

    Raises:
        ValueError: ``detect_every`` is not positive.
        ImportError: the extra ``faces`` is not installed.
    """

    def __init__(self, detector: Detector, detect_every: int = DETECT_EVERY) -> None:
        if detect_every < 1:
            raise ValueError(f"detect_every is a number of frames from 1, not {detect_every}")
        self._detector = detector
        self._every = detect_every
        self._flow = Flow()
        self._tracks: list[_Track] = []
        self._persons = 0
        self._since = detect_every  # frames since the last detection
        self._time = 0.0

    def __call__(self, image: NDArray[np.uint8], time: float) -> list[TrackedFace]:
        """Return the faces in the next frame, by the number of their person.

        Args:
            image: (H, W, 3) uint8 RGB.
            time: its time in seconds.
        """
        elapsed, self._time = max(time - self._time, 0.0), time
        motion, changed = self._flow.follow(image, [track.face.box for track in self._tracks])
        visible = [track.missed == 0 for track in self._tracks]
        lost = [m is None for m, shown in zip(motion, visible, strict=True) if shown]
        if lost and all(lost) and changed > _CUT:
            self._tracks, motion, visible, lost = [], [], [], [True]
        expected = [
            # A hidden face lends its points to what hides it: their motion is not its own.
            track.shifted(elapsed) if m is None or not shown else moved(track.face, m)
            for track, m, shown in zip(self._tracks, motion, visible, strict=True)
        ]
        close = _any_overlap(expected)
        if close:
            expected = [track.shifted(elapsed) for track in self._tracks]
        self._since += 1
        if self._since >= self._every or any(lost) or close:
            self._since = 0
            return self._detected(image, expected, time, elapsed, close)
        self._tracks = [
            self._updated(track, face, time, elapsed) if shown else replace(track, face=face)
            for track, face, shown in zip(self._tracks, expected, visible, strict=True)
        ]
        return self._shown(image, detected=False)

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs, as JSON values."""
        return {
            "persons": self._persons,
            "since": self._since,
            "time": self._time,
            "tracks": [
                {
                    "person": track.person,
                    "box": list(track.face.box),
                    "landmarks": track.face.landmarks.tolist(),
                    "score": track.face.score,
                    "velocity": track.velocity.tolist(),
                    "seen": track.seen,
                    "missed": track.missed,
                }
                for track in self._tracks
            ],
        }

    def restore(self, state: Mapping[str, Any], image: NDArray[np.uint8]) -> None:
        """Go on where another tracker was.

        Args:
            state: what its `state` returned.
            image: the last frame that it saw.

        Raises:
            ValueError: this is not such a state.
        """
        try:
            self._tracks = [
                _Track(
                    person=int(track["person"]),
                    face=Face(
                        tuple(map(float, track["box"])),  # type: ignore[arg-type]
                        np.array(track["landmarks"], np.float64).reshape(5, 2),
                        float(track["score"]),
                    ),
                    velocity=np.array(track["velocity"], np.float64).reshape(2),
                    seen=float(track["seen"]),
                    missed=int(track["missed"]),
                )
                for track in state["tracks"]
            ]
            self._persons, self._since = int(state["persons"]), int(state["since"])
            self._time = float(state["time"])
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError("not the state of a tracker") from error
        self._flow.remember(image)

    def _detected(
        self,
        image: NDArray[np.uint8],
        expected: Sequence[Face],
        time: float,
        elapsed: float,
        close: bool,
    ) -> list[TrackedFace]:
        found = self._detector.detect(image)
        ages = [time - track.seen for track in self._tracks]
        pairs = dict(match(expected, found, ages))
        tracks = []
        for place, (track, face) in enumerate(zip(self._tracks, expected, strict=True)):
            if place in pairs:
                seen = found[pairs[place]]
                # While faces overlap, one may have been taken for the other: keep the course.
                known = replace(track, face=seen, seen=time, missed=0)
                tracks.append(known if close else self._updated(track, seen, time, elapsed))
            elif time - track.seen <= _MEMORY or track.missed + 1 < _MISSES:
                tracks.append(replace(track, face=face, missed=track.missed + 1))
        taken = set(pairs.values())
        for number, face in enumerate(found):
            if number not in taken and face.score >= _CERTAIN:
                self._persons += 1
                tracks.append(_Track(self._persons, face, np.zeros(2), time))
        self._tracks = tracks
        return self._shown(image, detected=True)

    def _updated(self, track: _Track, face: Face, time: float, elapsed: float) -> _Track:
        """Return a track whose face is seen now, with the velocity that this tells."""
        velocity, gap = track.velocity, max(time - track.seen, elapsed)
        if gap > 0:
            astray = _center(face) - _center(track.shifted(elapsed))
            velocity = velocity + (1 - np.exp(-gap / _SMOOTHING)) * astray / gap
        return _Track(track.person, face, velocity, time)

    def _shown(self, image: NDArray[np.uint8], *, detected: bool) -> list[TrackedFace]:
        height, width = image.shape[:2]
        faces = []
        for track in self._tracks:
            x0, y0, x1, y1 = np.clip(track.face.box, 0, [width, height, width, height]).tolist()
            if track.missed == 0 and x1 > x0 and y1 > y0:
                face = replace(track.face, box=(x0, y0, x1, y1))
                faces.append(TrackedFace(track.person, face, detected))
        return faces


def match(
    expected: Sequence[Face], found: Sequence[Face], ages: Sequence[float]
) -> list[tuple[int, int]]:
    """Give faces that were found to those that were expected, at the least total cost.

    The cost of a pair is 1 - IoU of the boxes, plus the distance of their centers and the mean
    distance of their landmarks, both in sides of the faces.

    Args:
        expected: N faces.
        found: M faces.
        ages: (N,) seconds since the expected ones were last seen: the longer, the farther off they
            may be.

    Returns:
        Pairs of places in ``expected`` and ``found``, each place at most once; none for faces that
        are too far apart, or more than twice as large as each other.
    """
    costs = np.full((len(expected), len(found)), _NEVER)
    for row, (first, age) in enumerate(zip(expected, ages, strict=True)):
        reach = min(_REACH + _REACH_GROWTH * max(age, 0.0), _REACH_MOST)
        for column, second in enumerate(found):
            sides = np.sqrt(max(first.area, 1.0)), np.sqrt(max(second.area, 1.0))
            side = float(np.mean(sides))
            apart = float(np.linalg.norm(_center(first) - _center(second))) / side
            if apart <= reach and max(sides) <= 2 * min(sides):
                marks = np.linalg.norm(first.landmarks - second.landmarks, axis=1).mean() / side
                costs[row, column] = 1 - overlap(first, second) + apart + marks
    pairs = zip(*linear_sum_assignment(costs), strict=True)
    return [(int(row), int(column)) for row, column in pairs if costs[row, column] < _NEVER]


def overlap(first: Face, second: Face) -> float:
    """Return the intersection over union of two faces' boxes, in [0, 1]."""
    shared = _shared(first, second)
    union = first.area + second.area - shared
    return shared / union if union > 0 else 0.0


def moved(face: Face, matrix: NDArray[np.float64]) -> Face:
    """Return a face after a similarity (2, 3): its box keeps its proportions and stays level."""
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    center = matrix[:, :2] @ _center(face) + matrix[:, 2]
    half = np.array([face.box[2] - face.box[0], face.box[3] - face.box[1]]) * scale / 2
    x0, y0, x1, y1 = np.concatenate([center - half, center + half]).tolist()
    return Face((x0, y0, x1, y1), face.landmarks @ matrix[:, :2].T + matrix[:, 2], face.score)


def _any_overlap(faces: Sequence[Face]) -> bool:
    return any(
        _shared(first, second) > 0.1 * min(area(first.box), area(second.box))
        for place, first in enumerate(faces)
        for second in faces[:place]
    )


def _shared(first: Face, second: Face) -> float:
    """Return the area that two boxes have in common, in square pixels."""
    low = np.maximum(first.box[:2], second.box[:2])
    high = np.minimum(first.box[2:], second.box[2:])
    return float(np.clip(high - low, 0, None).prod())


def _center(face: Face) -> NDArray[np.float64]:
    x0, y0, x1, y1 = face.box
    return np.array([(x0 + x1) / 2, (y0 + y1) / 2])
