"""Frames of video files, with the times at which they are shown.

    for frame in VideoFile(Path("clip.mp4")).frames(Selection(rate=5, start=60, end=90)):
        print(frame.index, frame.time, frame.image.shape)

Times are the file's own presentation timestamps, those that ``ffprobe -show_frames`` prints as
``pts_time``: they are right for variable frame rates, reordered frames and edit lists, where a
frame's number divided by the frame rate is not. One frame is held in memory at a time, beside the
few that a decoder needs.

PyAV (extra ``video``) brings FFmpeg, which reads the containers. It is given an open regular file
and may open nothing else: a playlist cannot make it read other files or addresses.
"""

from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from emodc.faces.frames import Frame, Selection, numbered, require_av, selected, video_stream
from emodc.support.parsing import open_regular, size_of
from emodc.support.text import printable

# Containers in use. FFmpeg knows hundreds more: some open other files, some take any text for a
# film, and few of their parsers are looked after.
_CONTAINERS = (
    "mov,mp4,matroska,webm,avi,mpegts,mpegtsraw,mpeg,mpegvideo,m4v,flv,live_flv,asf,ogg,mxf,gxf,"
    "nut,dv,rm,wtv,ivf,obu,h264,hevc,vvc,vc1,mjpeg,mpjpeg,yuv4mpegpipe,gif,apng,dhav"
)


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
            decoded = numbered(self._decoded(container, stream, begin), number, self.rate)
            aspect = float(stream.sample_aspect_ratio or 1)
            yield from selected(decoded, selection, since, aspect, self.name)

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
                    yield container, video_stream(container, self.name)
            except av.FFmpegError as error:
                raise ValueError(
                    f"{self.name}: not a video in a container that is known, or damaged; copy or "
                    "export it again, as MP4"
                ) from error


def _end(container: Any, stream: Any) -> float | None:
    if stream.duration and stream.time_base:
        return float((stream.duration + (stream.start_time or 0)) * stream.time_base)
    if container.duration:  # in microseconds
        return float((container.duration + max(container.start_time or 0, 0)) / 1e6)
    return None
