"""Cameras as sources of frames."""

import sys
import time
from collections.abc import Iterator
from typing import Any

from emodc.faces.frames import Frame, Selection, numbered, require_av, selected, video_stream
from emodc.support.files import one_line
from emodc.support.text import printable

_PAUSE = 0.005  # seconds


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

    duration: float | None = None

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
        self._stream = video_stream(self._container, self.name)
        context = self._stream.codec_context
        self.size = context.width, context.height

    def frames(self, selection: Selection, since: float | None = None) -> Iterator[Frame]:
        """Go through the selected frames, until ``selection.end`` or for ever.

        Raises:
            ValueError: the camera was disconnected.
        """
        import av

        try:
            decoded = numbered(self._pictures(), 0, None, from_zero=True)
            yield from selected(decoded, selection, since, 1.0, self.name)
        except av.FFmpegError as error:
            raise ValueError(f"{self.name}: stopped ({one_line(error.strerror or '')})") from error
        finally:
            self._container.close()

    def _pictures(self) -> Iterator[Any]:
        """Decode, and wait where the system says that there is no picture yet."""
        while True:
            try:
                yield from self._container.decode(self._stream)
                return
            except BlockingIOError:
                time.sleep(_PAUSE)


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
