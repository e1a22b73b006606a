"""Measure how fast a video is classified, and how much memory that takes.

    python benchmarks/video.py speed [--seconds 10] [--detect-every 5] [--draws 4]
    python benchmarks/video.py memory [--minutes 10]

Both go through `EmotionClassifier.predict_video` from file to rows, with the model face48. The clip
shows a sample photograph that moves to and fro: 640x480 at 25 frames a second for speed, 320x240 at
5 frames a second for memory. ``speed`` prints wall-clock and CPU time, the latter for machines that
do other work; ``memory`` prints the resident set size for every tenth of the clip.
"""

import argparse
import platform
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from PIL import Image

from emodc.inference.classifier import EmotionClassifier
from emodc.inference.video import VideoOptions
from emodc.reports.overlay_video import write_video

SAMPLE = Path(__file__).resolve().parents[1] / "samples" / "astronaut.jpg"


def clip(
    size: tuple[int, int], seconds: float, rate: Fraction
) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Yield times and frames of a photograph that moves to and fro."""
    width, height = size
    with Image.open(SAMPLE) as photograph:
        image = np.asarray(photograph.convert("RGB").resize((height, height)))
    for number in range(round(seconds * rate)):
        place = round((width - height) * (1 + np.sin(float(number / rate))) / 2)
        frame = np.full((height, width, 3), 90, np.uint8)
        frame[:, place : place + height] = image
        yield float(number / rate), frame


def measure_speed(file: Path, seconds: float, detect_every: int, draws: int) -> None:
    """Print frames a second, and where the time goes."""
    write_video(file, clip((640, 480), seconds, Fraction(25)))
    classifier = EmotionClassifier.from_pretrained("face48", device="cpu")
    options: VideoOptions = {"detect_every": detect_every, "draws": draws}
    for _, _ in zip(classifier.predict_video(file, **options), range(12), strict=False):
        pass  # to warm up
    wall, work = time.perf_counter(), time.process_time()
    rows = list(classifier.predict_video(file, **options))
    wall, work = time.perf_counter() - wall, time.process_time() - work
    frames = len({row.frame for row in rows})
    faces = sum(row.status == "ok" for row in rows)
    print(
        f"640x480, {frames} frames with {faces} faces, detection every {detect_every} frames, "
        f"{draws} draws: {frames / wall:.1f} frames a second; {1000 * work / frames:.1f} ms of CPU "
        f"time a frame, which is {frames / work:.1f} frames a second on one free core"
    )


def measure_memory(file: Path, minutes: float) -> None:
    """Print the resident set size along a clip."""
    write_video(file, clip((320, 240), 60 * minutes, Fraction(5)))
    process, megabyte = psutil.Process(), 1e6
    classifier = EmotionClassifier.from_pretrained("face48", device="cpu")
    started, step, due = time.perf_counter(), 6 * minutes, 0.0
    print("| time in the clip, s | RSS, MB |", "|---|---|", sep="\n")
    frames = 0
    for row in classifier.predict_video(file, detect_every=25, draws=1):
        frames += 1
        if row.time >= due:
            print(f"| {row.time:.0f} | {process.memory_info().rss / megabyte:.0f} |", flush=True)
            due += step
    print(f"| end | {process.memory_info().rss / megabyte:.0f} |")
    print(f"\n{frames} rows in {time.perf_counter() - started:.0f} s")


def main() -> None:
    """Make the clip and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("speed", "memory"))
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--detect-every", type=int, default=5)
    parser.add_argument("--draws", type=int, default=4)
    asked = parser.parse_args()
    cv2.setNumThreads(torch.get_num_threads())
    print(f"{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "clip.mp4"
        if asked.what == "speed":
            measure_speed(file, asked.seconds, asked.detect_every, asked.draws)
        else:
            measure_memory(file, asked.minutes)


if __name__ == "__main__":
    main()
