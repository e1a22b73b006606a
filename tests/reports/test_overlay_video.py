from pathlib import Path

import numpy as np
import pytest

from emodc.faces.frames import Selection
from emodc.faces.video import VideoFile
from emodc.reports.overlay_video import SUFFIXES, write_video
from tests.clips import plain_frames

TIMES = [3.0, 3.04, 3.3, 3.301, 4.0]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_frames_are_shown_when_they_were(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    frames = [frame[:47, :63] for frame in plain_frames(5)]  # encoders want even sides
    write_video(path, zip(TIMES, frames, strict=True))
    file = VideoFile(path)
    assert file.size == (64, 48)
    found = list(file.frames(Selection()))
    np.testing.assert_allclose([f.time for f in found], np.array(TIMES) - 3.0, atol=1.1e-3)
    for frame, image in zip(found, frames, strict=True):
        assert abs(float(frame.image[40, 50].mean()) - float(image[40, 50].mean())) < 12
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end with \.mp4"):
        write_video(tmp_path / "a.txt", [])
    with pytest.raises(ValueError, match="no frame"):
        write_video(tmp_path / "a.mp4", [])
    assert list(tmp_path.iterdir()) == []
