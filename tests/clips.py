"""Small videos for tests, made on the spot."""

import shutil
import subprocess
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

av = pytest.importorskip("av", reason="needs the extra video")

SAMPLES = Path(__file__).parents[1] / "samples"
BASE = Fraction(1, 1000)


def write_clip(
    path: Path,
    frames: Iterable[NDArray[np.uint8]],
    times: Sequence[float],
    *,
    codec: str = "libx264",
    rotation: int | None = None,
    mirrored: bool = False,
    aspect: Fraction | None = None,
) -> Path:
    """Write RGB frames of even size that are shown at these times in seconds."""
    with av.open(str(path), "w") as container:
        stream = None
        for image, time in zip(frames, times, strict=True):
            if stream is None:
                stream = container.add_stream(codec, rate=30)
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
                stream.codec_context.time_base = BASE
                stream.codec_context.gop_size = 12
                if aspect is not None:
                    stream.codec_context.sample_aspect_ratio = aspect
                if rotation is not None:
                    stream.set_display_rotation(rotation, hflip=mirrored)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(time / BASE), BASE
            container.mux(stream.encode(frame))
        assert stream is not None
        container.mux(stream.encode())
    return path


def write_sound(path: Path) -> Path:
    with av.open(str(path), "w", format="ipod") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 44100), np.float32), format="fltp", layout="mono"
        )
        frame.rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def plain_frames(count: int, size: tuple[int, int] = (64, 48)) -> list[NDArray[np.uint8]]:
    """Gray frames that get brighter, whose upper left quarter is red."""
    frames = []
    for number in range(count):
        image = np.full((size[1], size[0], 3), 40 + 150 * number // count, np.uint8)
        image[: size[1] // 2, : size[0] // 2] = (250, 20, 20)
        frames.append(image)
    return frames


def face(name: str, side: int) -> NDArray[np.uint8]:
    """Return a sample photograph, (side, side, 3)."""
    with Image.open(SAMPLES / f"{name}.jpg") as image:
        return np.asarray(image.convert("RGB").resize((side, side)))


def reference_times(path: Path) -> list[float]:
    """Return the frames' presentation timestamps by ffprobe, by ffmpeg or from the packets."""
    if (ffprobe := shutil.which("ffprobe")) is not None:
        asked = ["-v", "error", "-select_streams", "v:0", "-show_entries", "frame=pts_time"]
        out = subprocess.run(
            [ffprobe, *asked, "-of", "csv=p=0", str(path)], check=True, capture_output=True
        ).stdout
        return [float(line.strip(b",")) for line in out.split()]
    try:
        from imageio_ffmpeg import get_ffmpeg_exe
    except ImportError:
        with av.open(str(path)) as container:
            packets = list(container.demux(video=0))
        return sorted(float(p.pts * p.time_base) for p in packets if p.size and not p.is_discard)
    asked = ["-copyts", "-i", str(path), "-an", "-vf", "showinfo", "-fps_mode", "passthrough"]
    said = subprocess.run(
        [get_ffmpeg_exe(), *asked, "-f", "null", "-"], check=True, capture_output=True
    ).stderr.decode()
    words = [line.split("pts_time:")[1] for line in said.splitlines() if "pts_time:" in line]
    return [float(word.split()[0]) for word in words]
