import sys
from collections.abc import Iterator

import numpy as np
import pytest

from emodc.faces import camera
from emodc.faces.camera import Camera
from emodc.faces.frames import Selection

pytest.importorskip("av", reason="needs the extra video")


def test_a_camera_is_read_until_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg's test picture, which never ends, stands for a camera."""
    source: tuple[str, str, dict[str, str]] = ("testsrc=size=64x48:rate=30", "lavfi", {})
    monkeypatch.setattr(camera, "camera_device", lambda number: source)
    found = Camera(0)
    assert (found.size, found.duration) == ((64, 48), None)
    frames = list(found.frames(Selection(end=0.5, rate=10)))
    np.testing.assert_allclose([f.time for f in frames], [0, 0.1, 0.2, 0.3, 0.4], atol=0.001)
    assert frames[0].image.shape == (48, 64, 3)


def test_a_camera_may_have_no_picture_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    source: tuple[str, str, dict[str, str]] = ("testsrc=size=64x48:rate=30", "lavfi", {})
    monkeypatch.setattr(camera, "camera_device", lambda number: source)
    found = Camera(0)
    decode, calls = found._container.decode, []

    class Slow:
        """A container that is not ready at first."""

        close = found._container.close

        def decode(self, stream: object) -> Iterator[object]:
            calls.append(stream)
            if len(calls) < 3:
                raise BlockingIOError
            yield from decode(stream)

    found._container = Slow()
    assert len(list(found.frames(Selection(end=0.1)))) == 3
    assert len(calls) == 3


def test_a_missing_camera_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    missing: tuple[str, str, dict[str, str]] = ("/dev/video987", "v4l2", {})
    monkeypatch.setattr(camera, "camera_device", lambda number: missing)
    with pytest.raises(ValueError, match=r"camera 987: cannot be opened as /dev/video987"):
        Camera(987)


def test_the_first_camera_has_the_name_that_the_system_gives_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert camera.camera_device(1)[:2] == ("/dev/video1", "v4l2")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert camera.camera_device(1)[:2] == ("1:none", "avfoundation")
