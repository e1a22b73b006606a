"""Writing videos whose frames are shown at given times. PyAV (extra ``video``) encodes them."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emodc.faces.frames import require_av
from emodc.reports.rows import check_suffix
from emodc.support.files import whole_file

SUFFIXES = (".mp4", ".mkv", ".mov", ".webm")
"""Of videos that can be written."""

_BASE = Fraction(1, 90_000)  # seconds of a tick: exact for all common frame rates
_CODECS = ("libx264", "libopenh264", "mpeg4")  # the first that FFmpeg was built with
_FORMATS = {".mkv": "matroska"}


def write_video(path: Path, frames: Iterable[tuple[float, NDArray[np.uint8]]]) -> None:
    """Write a video, which appears under its name when it is finished.

    Args:
        path: its suffix is one of `SUFFIXES`.
        frames: times in seconds, rising, and (H, W, 3) uint8 RGB images of the size of the first.
            The first is shown at 0.

    Raises:
        ValueError: another suffix, or no frame.
        OSError: the file cannot be written.
        ImportError: the extra ``video`` is not installed.
    """
    av, kind = require_av(), check_suffix(path, SUFFIXES)
    stream, origin, last = None, 0.0, -1
    with (
        whole_file(path) as file,
        av.open(file, "w", format=_FORMATS.get(kind, kind[1:])) as container,
    ):
        for time, image in frames:
            if stream is None:
                origin = time
                stream = _stream(av, container, kind, image)
            pixels = _fitted(image, stream.width, stream.height)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            last = max(round((time - origin) / _BASE), last + 1)
            frame.pts, frame.time_base = last, _BASE
            container.mux(stream.encode(frame))
        if stream is None:
            raise ValueError(f"{path}: there is no frame to write")
        container.mux(stream.encode())


def _stream(av: Any, container: Any, kind: str, image: NDArray[np.uint8]) -> Any:
    codec = next(name for name in _CODECS if name in av.codecs_available)
    options = {"crf": "23", "preset": "veryfast"} if codec == "libx264" else {}
    if kind == ".webm":
        codec, options = "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "crf": "32"}
    stream = container.add_stream(codec, rate=30, options=options)
    # Encoders want even sides.
    stream.width, stream.height = (side + side % 2 for side in image.shape[1::-1])
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = _BASE
    if codec == "mpeg4":  # which knows no finer clock
        stream.codec_context.time_base = Fraction(1, 60_000)
    return stream


def _fitted(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Return an image of this size: its edge repeated, or cut, where its own is another."""
    image = image[:height, :width]
    down, across = height - image.shape[0], width - image.shape[1]
    return np.ascontiguousarray(np.pad(image, ((0, down), (0, across), (0, 0)), mode="edge"))
