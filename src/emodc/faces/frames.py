"""Frames of videos and cameras: which are looked at, when they are shown, and how they look."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from emodc.faces.reading import check_size
from emodc.support.files import one_line
from emodc.support.optional import importing

_GRID = 1e-6  # of a step: a frame that is due at 0.2 may be stamped 0.19999999


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame of a video.

    Attributes:
        index: its number in the video, in the order of display, from 0.
        time: its presentation timestamp in seconds; of a camera, since the first frame.
        image: (H, W, 3) uint8 RGB, as it is displayed: upright, and with square pixels.
    """

    index: int
    time: float
    image: NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which frames of a video are looked at.

    Attributes:
        every: those whose number is a multiple of this.
        rate: at most so many a second: the first frame at or after each of the times
            ``start + k / rate``.
        start: seconds; no frame before this time.
        end: seconds; only frames before this time. To the end of the video if not given.

    Raises:
        ValueError: a number is out of range, or both ``every`` and ``rate`` are given.
    """

    every: int = 1
    rate: float | None = None
    start: float = 0.0
    end: float | None = None

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every is a whole number of frames from 1, not {self.every}")
        if self.rate is not None and self.every != 1:
            raise ValueError("give either every n-th frame or frames a second, not both")
        if self.rate is not None and not 0 < self.rate < math.inf:
            raise ValueError(f"frames a second must be more than 0, not {self.rate:g}")
        if not 0 <= self.start < math.inf:
            raise ValueError(f"start is a time in seconds from 0, not {self.start:g}")
        if self.end is not None and not self.end > self.start:
            raise ValueError(f"end ({self.end:g} s) must come after start ({self.start:g} s)")

    def slot(self, time: float) -> int:
        """Return which of the times ``start + k / rate`` was the last, with a rate."""
        return math.floor((time - self.start) * (self.rate or 1) + _GRID)


class Footage(Protocol):
    """What frames come from.

    Attributes:
        name: what messages call it.
        size: width and height of its first frame as displayed, in pixels.
        duration: the time at which it ends, in seconds; None if that is not known.
    """

    name: str
    size: tuple[int, int]
    duration: float | None

    def frames(self, selection: Selection, since: float | None = None) -> Iterator[Frame]:
        """Go through the selected frames in the order of display.

        Args:
            selection: which.
            since: the time of a selected frame to go on from: it is the first one given.
        """


def require_av() -> Any:
    """Return the module av, quiet: what FFmpeg has to say of a damaged file is counted, not shown.

    Raises:
        ImportError: the extra ``video`` is not installed; the message says how to get it.
    """
    with importing("video", "reading videos"):
        import av
    av.logging.set_level(None)
    return av


def video_stream(container: Any, name: str) -> Any:
    """Return the stream that players show, ready to decode.

    Raises:
        ValueError: there is none, or its frames are too large.
    """
    import av

    cover = av.stream.Disposition.attached_pic  # the picture on a record is no video
    streams = [s for s in container.streams.video if not s.disposition & cover]
    if not streams:
        if container.streams.audio:
            raise ValueError(f"{name}: sound alone, no video; give a file that has pictures")
        raise ValueError(f"{name}: no video in this file, or damaged; copy or export it again")
    stream = container.streams.best("video")
    stream = stream if stream in streams else streams[0]
    context = stream.codec_context
    if context is None:
        raise ValueError(f"{name}: its codec is not known; convert it to H.264 in MP4")
    if context.width and context.height:
        check_size((context.width, context.height), name)
    context.thread_type = "AUTO"
    return stream


def numbered(
    decoded: Iterator[Any], number: int, rate: float | None, *, from_zero: bool = False
) -> Iterator[tuple[int, float, Any]]:
    """Give decoded frames their numbers and times.

    Args:
        decoded: in the order of display.
        number: of the first one.
        rate: frames a second, for a video without timestamps.
        from_zero: count the times from the first frame.
    """
    origin = None
    for index, frame in enumerate(decoded, number):
        pts = frame.dts if frame.pts is None else frame.pts
        time = index / (rate or 25.0) if pts is None else float(pts * frame.time_base)
        origin = time if origin is None else origin
        yield index, time - origin if from_zero else time, frame


def selected(
    decoded: Iterator[tuple[int, float, Any]],
    selection: Selection,
    since: float | None,
    aspect: float,
    name: str,
) -> Iterator[Frame]:
    """Give the frames that are looked at, as they are displayed.

    Args:
        decoded: numbers, times and frames.
        selection: which are looked at.
        since: the time of the first one, if not the start.
        aspect: width by height of a pixel.
        name: what messages call the video.
    """
    last = -1
    for index, time, frame in decoded:
        if time < max(selection.start, since or 0.0):
            continue
        if selection.end is not None and time >= selection.end:
            return
        slot = selection.slot(time)
        due = slot > last if selection.rate is not None else index % selection.every == 0
        last = max(last, slot)
        if due:
            yield Frame(index, time, _displayed(frame, aspect, name))


def _displayed(frame: Any, aspect: float, name: str) -> NDArray[np.uint8]:
    """Return the pixels as they are displayed: square, turned and mirrored as the file says.

    Args:
        frame: as decoded.
        aspect: width by height of its pixels.
        name: what messages call the video.
    """
    import av

    width, height = frame.width, frame.height
    if 0.1 < aspect < 10:  # anything else is an error in the file
        width = max(1, round(width * aspect))
    check_size((width, height), name)
    try:
        image = frame.to_ndarray(format="rgb24", width=width, height=height)
    except (av.FFmpegError, ValueError) as error:
        raise ValueError(f"{name}: its pixels cannot be converted ({one_line(error)})") from error
    matrix = next((d for d in frame.side_data if d.type.name == "DISPLAYMATRIX"), None)
    if matrix is None:
        return np.asarray(image, np.uint8)
    # (x, y) is shown at (a x + c y, b x + d y), up to a shift: libavutil/display.h.
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    across, down = a, d
    if abs(b) > abs(a):
        image, across, down = image.transpose(1, 0, 2), c, b
    image = image[:, ::-1] if across < 0 else image
    image = image[::-1] if down < 0 else image
    return np.ascontiguousarray(image, np.uint8)
