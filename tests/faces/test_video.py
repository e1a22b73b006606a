import itertools
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from emodc.faces.frames import Selection
from emodc.faces.video import VideoFile
from tests.clips import plain_frames, reference_times, write_clip, write_sound

CONSTANT = [i / 25 for i in range(50)]
VARIABLE = np.cumsum(np.random.default_rng(0).integers(10, 120, 50)).tolist()
VARIABLE = [t / 1000 for t in VARIABLE]
CLIPS = {
    "constant.mp4": (CONSTANT, "libx264"),
    "variable.mp4": (VARIABLE, "libx264"),
    "variable.mkv": (VARIABLE, "libx264"),
    "variable.mov": (VARIABLE, "mpeg4"),
    "constant.ts": (CONSTANT, "libx264"),
    "constant.avi": (CONSTANT, "mpeg4"),
    "constant.webm": (CONSTANT, "libvpx-vp9"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for name, (times, codec) in CLIPS.items():
        write_clip(folder / name, plain_frames(50), times, codec=codec)
    return folder


def stamps(
    file: VideoFile, selection: Selection | None = None, since: float | None = None
) -> list[tuple[int, float]]:
    return [(f.index, f.time) for f in file.frames(selection or Selection(), since)]


@pytest.mark.parametrize("name", CLIPS)
def test_times_are_those_of_ffprobe(name: str, folder: Path) -> None:
    found = stamps(VideoFile(folder / name))
    assert [index for index, _ in found] == list(range(50))
    np.testing.assert_allclose(
        [time for _, time in found], reference_times(folder / name), rtol=0, atol=2e-6
    )


@pytest.mark.parametrize("name", ["constant.mp4", "variable.mp4", "variable.mkv"])
def test_times_are_those_that_the_frames_were_given(name: str, folder: Path) -> None:
    found = [time for _, time in stamps(VideoFile(folder / name))]
    np.testing.assert_allclose(found, CLIPS[name][0], rtol=0, atol=1.1e-3)


def test_frames_come_in_the_order_of_display(folder: Path) -> None:
    """The file holds frames that are stored after those they are shown before."""
    from tests.clips import av

    with av.open(str(folder / "constant.mp4")) as container:
        stored = [packet.pts for packet in container.demux(video=0) if packet.size]
    assert stored != sorted(stored)
    levels = [
        frame.image[40, 50].mean()
        for frame in VideoFile(folder / "constant.mp4").frames(Selection())
    ]
    assert levels == sorted(levels)


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("start", [0.01, 0.5, 1.234])
def test_a_start_changes_no_number_and_no_time(name: str, start: float, folder: Path) -> None:
    file = VideoFile(folder / name)
    assert stamps(file, Selection(start=start)) == [f for f in stamps(file) if f[1] >= start]


@pytest.mark.parametrize("name", ["variable.mp4", "constant.ts"])
@pytest.mark.parametrize("selection", [Selection(every=3), Selection(rate=4, start=0.3)])
def test_going_on_gives_the_frames_that_were_left(
    name: str, selection: Selection, folder: Path
) -> None:
    file = VideoFile(folder / name)
    whole = stamps(file, selection)
    for place in range(0, len(whole), 3):
        assert stamps(file, selection, since=whole[place][1]) == whole[place:]


def test_every_nth_frame(folder: Path) -> None:
    found = stamps(VideoFile(folder / "variable.mp4"), Selection(every=7, end=2.0))
    assert [index for index, _ in found] == [i for i in range(0, 50, 7) if VARIABLE[i] < 2.0]


def test_a_rate_takes_the_first_frame_at_or_after_each_time(folder: Path) -> None:
    found = stamps(VideoFile(folder / "variable.mp4"), Selection(rate=5, start=0.23))
    due = {
        next(i for i, t in enumerate(VARIABLE) if t >= 0.23 + k / 5)
        for k in range(100)
        if 0.23 + k / 5 <= VARIABLE[-1]
    }
    assert {index for index, _ in found} == due
    assert len(stamps(VideoFile(folder / "constant.mp4"), Selection(rate=5))) == 10


@pytest.mark.parametrize(
    ("rotation", "mirrored", "corner"),
    [
        (0, False, (0, 0)),
        (90, False, (-1, 0)),
        (180, False, (-1, -1)),
        (-90, False, (0, -1)),
        (0, True, (0, -1)),
        (90, True, (-1, -1)),
    ],
)
def test_frames_stand_upright(
    rotation: int, mirrored: bool, corner: tuple[int, int], tmp_path: Path
) -> None:
    """Counter-clockwise turns take the red upper left quarter to this corner."""
    path = write_clip(
        tmp_path / "a.mp4", plain_frames(3), [0, 0.1, 0.2], rotation=rotation, mirrored=mirrored
    )
    file = VideoFile(path)
    image = next(file.frames(Selection())).image
    assert file.size == ((48, 64) if abs(rotation) == 90 else (64, 48))
    assert image.shape == (*file.size[::-1], 3)
    row, column = (3 if place == 0 else -4 for place in corner)
    red, green, _ = image[row, column].tolist()
    assert red > green + 100


def test_pixels_become_square(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", plain_frames(3), [0, 0.1, 0.2], aspect=Fraction(2))
    assert VideoFile(path).size == (128, 48)


def test_a_stream_without_times_counts_frames(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.h264", plain_frames(20), CONSTANT[:20])
    file = VideoFile(path)
    np.testing.assert_allclose([t for _, t in stamps(file)], [i / 25 for i in range(20)])
    assert stamps(file, Selection(start=0.4)) == stamps(file)[10:]


def damaged(path: Path) -> Path:
    write_clip(path, plain_frames(5), CONSTANT[:5])
    path.write_bytes(path.read_bytes()[:400])
    return path


def text(path: Path) -> Path:
    path.write_text("I am a film " * 100)
    return path


def empty(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def playlist(path: Path) -> Path:
    other = write_clip(path.with_suffix(".ts"), plain_frames(5), CONSTANT[:5])
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:3,\n{other}\n#EXT-X-ENDLIST\n")
    return path


def concatenation(path: Path) -> Path:
    other = write_clip(path.with_suffix(".ts"), plain_frames(5), CONSTANT[:5])
    path.write_text(f"ffconcat version 1.0\nfile {other.name}\n")
    return path


BAD = {
    damaged: "damaged",
    text: "not a video",
    empty: "0 bytes",
    write_sound: "sound alone",
    playlist: "not a video",
    concatenation: "not a video",
    Path: "no such file",
}


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_what_is_no_video_is_one_line(make: type, tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match=BAD[make]) as caught:
        VideoFile(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert len(message.splitlines()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="has no such file")
def test_what_never_ends_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="/dev/zero: not a regular file"):
        VideoFile(Path("/dev/zero"))
    with pytest.raises(ValueError, match="a folder"):
        VideoFile(tmp_path)


def test_a_damaged_stretch_costs_only_its_frames(tmp_path: Path) -> None:
    times = [i / 25 for i in range(40)]
    noise = np.random.default_rng(0).integers(0, 256, (40, 48, 64, 3), dtype=np.uint8)
    path = write_clip(tmp_path / "a.avi", noise, times, codec="mjpeg")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    at = content.index(b"00dc", middle)
    content[at + 8 : at + 400] = bytes(392)
    path.write_bytes(content)
    file = VideoFile(path)
    assert 38 <= len(stamps(file)) <= 40
    assert stamps(file)[-1][0] >= 38


def test_frames_are_read_as_they_are_asked_for(folder: Path) -> None:
    frames = VideoFile(folder / "constant.mp4").frames(Selection())
    assert [frame.index for frame in itertools.islice(frames, 3)] == [0, 1, 2]
    frames.close()  # type: ignore[attr-defined]
