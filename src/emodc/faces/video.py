"""Frames of videos and cameras, with the times at which they are shown.

    for frame in VideoFile(Path("clip.mp4")).frames(Selection(rate=5, start=60, end=90)):
        print(frame.index, frame.time, frame.image.shape)

Times are the file's own presentation timestamps, those that ``ffprobe -show_frames`` prints as
``pts_time``: they are right for variable frame rates, reordered frames and edit lists, where a
frame's number divided by the frame rate is not. One frame is held in memory at a time, beside the
few that a decoder needs.

PyAV (extra ``video``) brings FFmpeg, which reads the containers. It is given an open regular file
and may open nothing else: a playlist cannot make it read other files or addresses.
"""

import math
import sys
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from emodc.faces.reading import check_size
from emodc.support.files import one_line
from emodc.support.optional import importing
from emodc.support.parsing import open_regular, size_of
from emodc.support.text import printable

# Containers in use. FFmpeg knows hundreds more: some open other files, some take any text for a
# film, and few of their parsers are looked after.
_CONTAINERS = (
    "mov,mp4,matroska,webm,avi,mpegts,mpegtsraw,mpeg,mpegvideo,m4v,flv,live_flv,asf,ogg,mxf,gxf,"
    "nut,dv,rm,wtv,ivf,obu,h264,hevc,vvc,vc1,mjpeg,mpjpeg,yuv4mpegpipe,gif,apng,dhav"
)
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


class VideoFile:
    """A video file. Every pass over its frames opens it anew.

    Args:
        path: of a file in any container that FFmpeg reads.

    Attributes:
        name: its path, fit for a message.
        size: see `Footage`.
        duration: see `Footage`.
        rate: mean frames a second, as the file says; None if it does not.
        damaged: packets that could not be decoded in the last pass.

    Raises:
        ValueError: the file is missing, empty, damaged, no regular file or no video, or its frames
            are too large. One line that names the file.
        ImportError: the extra ``video`` is not installed.
    """

    def __init__(self, path: Path) -> None:
        require_av()
        self.path = path
        self.name = printable(str(path))
        self.damaged = 0
        with self._opened() as (container, stream):
            rate = stream.average_rate or stream.guessed_rate
            self.rate = float(rate) if rate else None
            self.duration = _end(container, stream)
        first = next(self.frames(Selection()), None)
        if first is None:
            raise ValueError(f"{self.name}: no frame of this video can be decoded; it is damaged")
        self.size = first.image.shape[1], first.image.shape[0]

    def frames(self, selection: Selection, since: float | None = None) -> Iterator[Frame]:
        """Go through the selected frames; see `Footage.frames`.

        A packet that is damaged is left out, as players do, and counted in ``damaged``.

        Raises:
            ValueError: the file has changed and cannot be read any more, or a frame is too large.
        """
        self.damaged = 0
        begin, number = self._entry(max(selection.start, since or 0.0))
        with self._opened() as (container, stream):
            decoded = _numbered(self._decoded(container, stream, begin), number, self.rate)
            aspect = float(stream.sample_aspect_ratio or 1)
            yield from _selected(decoded, selection, since, aspect, self.name)

    def _entry(self, time: float) -> tuple[int, int]:
        """Return the packet from which to decode so as to reach a time, and its frame's number.

        By looking at all packets before it, undecoded: seeking in a container can end up too late,
        and does not tell the number of a frame.
        """
        shown = array("q")
        begin, start = 0, None
        with self._opened() as (container, stream):
            base = stream.time_base
            packets = container.demux(stream) if time > 0 else ()
            for place, packet in enumerate(packets):
                if packet.size == 0:
                    break
                if packet.pts is None:
                    return 0, 0
                if not packet.is_discard:
                    shown.append(packet.pts)
                if packet.is_keyframe and packet.pts * base <= time:
                    begin, start = place, packet.pts
                if packet.dts is not None and packet.dts * base > time:
                    break
        return (0, 0) if start is None else (begin, sum(pts < start for pts in shown))

    def _decoded(self, container: Any, stream: Any, begin: int) -> Iterator[Any]:
        """Decode from a packet on, without what is shown before it."""
        import av

        first = None
        for place, packet in enumerate(container.demux(stream)):
            if place < begin:
                continue
            first = packet.pts if place == begin else first
            try:
                decoded = packet.decode()
            except av.FFmpegError:
                self.damaged += 1
                continue
            for frame in decoded:
                if not begin or frame.pts is None or first is None or frame.pts >= first:
                    yield frame

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, Any]]:
        import av

        with open_regular(self.path) as file:
            if size_of(file) == 0:
                raise ValueError(f"{self.name}: 0 bytes, an empty file; copy or record it again")
            # No protocol is allowed: nothing that the file names is opened.
            options = {"protocol_whitelist": "none", "format_whitelist": _CONTAINERS}
            try:
                with av.open(file, options=options) as container:
                    yield container, _video_stream(container, self.name)
            except av.FFmpegError as error:
                raise ValueError(
                    f"{self.name}: not a video in a container that is known, or damaged; copy or "
                    "export it again, as MP4"
                ) from error


class Camera:
    """A camera. It never ends by itself.

    Args:
        number: 0 for the first one.

    Attributes:
        name: what messages call it.
        size: see `Footage`.
        duration: None.

    Raises:
        ValueError: there is no such camera, or it cannot be opened.
        ImportError: the extra ``video`` is not installed.
    """

    duration = None

    def __init__(self, number: int = 0) -> None:
        import_av = require_av()
        self.name = f"camera {number}"
        file, kind, options = camera_device(number)
        try:
            self._container = import_av.open(file, format=kind, options=options)
        except (import_av.FFmpegError, ValueError) as error:
            reason = one_line(getattr(error, "strerror", None) or error)
            raise ValueError(
                f"{self.name}: cannot be opened as {printable(file)} ({reason}); check that it is "
                "connected, that no other program uses it, and that you may use it"
            ) from error
        self._stream = _video_stream(self._container, self.name)
        context = self._stream.codec_context
        self.size = context.width, context.height

    def frames(self, selection: Selection, since: float | None = None) -> Iterator[Frame]:
        """Go through the selected frames, until ``selection.end`` or for ever.

        Raises:
            ValueError: the camera was disconnected.
        """
        import av

        try:
            decoded = _numbered(self._container.decode(self._stream), 0, None, from_zero=True)
            yield from _selected(decoded, selection, since, 1.0, self.name)
        except av.FFmpegError as error:
            raise ValueError(f"{self.name}: stopped ({one_line(error.strerror or '')})") from error
        finally:
            self._container.close()


def camera_device(number: int) -> tuple[str, str, dict[str, str]]:
    """Return how FFmpeg calls a camera on this system: file, format and options."""
    if sys.platform == "darwin":
        return f"{number}:none", "avfoundation", {"framerate": "30"}
    if sys.platform == "win32":
        import av

        names = [d.name for d in av.enumerate_input_devices("dshow") if "video" in d.media_types]
        if number >= len(names):
            raise ValueError(f"camera {number}: there are {len(names)} cameras, counted from 0")
        return f"video={names[number]}", "dshow", {}
    return f"/dev/video{number}", "v4l2", {}


def require_av() -> Any:
    """Return the module av, quiet: what FFmpeg has to say of a damaged file is counted, not shown.

    Raises:
        ImportError: the extra ``video`` is not installed; the message says how to get it.
    """
    with importing("video", "reading videos"):
        import av
    av.logging.set_level(None)
    return av


def _video_stream(container: Any, name: str) -> Any:
    """Return the stream that players show, ready to decode."""
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


def _end(container: Any, stream: Any) -> float | None:
    if stream.duration and stream.time_base:
        return float((stream.duration + (stream.start_time or 0)) * stream.time_base)
    if container.duration:  # in microseconds
        return float((container.duration + max(container.start_time or 0, 0)) / 1e6)
    return None


def _numbered(
    decoded: Iterator[Any], number: int, rate: float | None, *, from_zero: bool = False
) -> Iterator[tuple[int, float, Any]]:
    """Give frames their numbers and times; without timestamps, from the frame rate."""
    origin = None
    for index, frame in enumerate(decoded, number):
        pts = frame.dts if frame.pts is None else frame.pts
        time = index / (rate or 25.0) if pts is None else float(pts * frame.time_base)
        origin = time if origin is None else origin
        yield index, time - origin if from_zero else time, frame


def _selected(
    decoded: Iterator[tuple[int, float, Any]],
    selection: Selection,
    since: float | None,
    aspect: float,
    name: str,
) -> Iterator[Frame]:
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
