"""Make the pictures of docs/video.md: a clip of sample images, classified by ``emodc predict``.

    python scripts/make_video_example.py

One photograph moves, and a rendered head fades from neutral to surprise. Written: docs/video.jpg,
a frame of the overlay, and docs/video-timeline.png.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emodc.faces.frames import Selection
from emodc.faces.video import VideoFile
from emodc.reports.overlay_video import write_video

ROOT = Path(__file__).resolve().parents[1]
FRAMES, RATE, SHOWN = 60, 25, 50


def sample(name: str, side: int) -> NDArray[np.float64]:
    """Return a sample image, (side, side, 3)."""
    with Image.open(ROOT / "samples" / f"{name}.jpg") as image:
        return np.asarray(image.convert("RGB").resize((side, side)), np.float64)


def clip() -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Yield times and frames."""
    photograph = sample("astronaut", 400)
    before, after = sample("neutral", 230), sample("surprise", 230)
    for number in range(FRAMES):
        frame = np.full((480, 640, 3), (70, 80, 90), np.float64)
        frame[40:440, 2 * number // 3 : 400 + 2 * number // 3] = photograph
        share = np.clip((number - 22) / 12, 0, 1)
        frame[230:460, 400:630] = (1 - share) * before + share * after
        yield number / RATE, np.rint(frame).astype(np.uint8)


def main() -> None:
    """Make the clip, classify it, and keep a frame and the timeline."""
    with tempfile.TemporaryDirectory() as folder:
        film, marked = Path(folder) / "clip.mp4", Path(folder) / "out.mp4"
        write_video(film, clip())
        timeline = ROOT / "docs" / "video-timeline.png"
        command = [sys.executable, "-m", "emodc", "predict", str(film), "--overlay", str(marked)]
        subprocess.run([*command, "--timeline", str(timeline)], check=True)
        for frame in VideoFile(marked).frames(Selection(every=SHOWN)):
            if frame.index == SHOWN:
                Image.fromarray(frame.image).save(ROOT / "docs" / "video.jpg", quality=88)


if __name__ == "__main__":
    main()
