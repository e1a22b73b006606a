"""Measure what finding faces costs, and which faces each detector finds; one process at a time.

python benchmarks/detection.py [--scenes 6] [--seed 0] [--output docs/detection.json]

The images are composed from the sample faces on a gray wall, so it is known where the faces are.
Times are CPU time, which a busy machine changes least; each image is looked at twice, and the
second time counts.
"""

import argparse
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from emodc.evaluation.statistics import share_right
from emodc.faces import nets
from emodc.faces.detector import Face, FaceDetector

SAMPLES = Path(__file__).parents[1] / "samples"
Pixels = NDArray[np.uint8]
Portrait = tuple[Image.Image, NDArray[np.float64]]


@dataclass(frozen=True)
class Scene:
    """An image, and the landmarks (N, 5, 2) of its faces."""

    kind: str
    image: Pixels
    landmarks: NDArray[np.float64]


def portraits(side: int) -> Iterator[Portrait]:
    """Return the samples with `side` pixels, and where they show the landmarks."""
    thorough = detectors()["thorough"]
    for file in sorted(SAMPLES.glob("*.jpg")):
        image = Image.open(file).convert("RGB")
        (face,) = thorough.detect(np.asarray(image, np.uint8))
        yield image.resize((side, side)), face.landmarks * side / image.width


def composed(
    kind: str, known: Sequence[Portrait], sides: list[int], random: np.random.Generator
) -> Scene:
    """Lay portraits of these sides beside each other on a wall of 1600x1200 pixels."""
    size = (1600, 1200)
    canvas, points = Image.new("RGB", size, "gray"), []
    taken: list[tuple[int, int, int]] = []
    for side in sorted(sides, reverse=True):
        while True:
            x, y = (int(random.integers(0, n - side + 1)) for n in size)
            if all(x + side <= a or a + s <= x or y + side <= b or b + s <= y for a, b, s in taken):
                break
        taken.append((x, y, side))
        image, landmarks = known[int(random.integers(len(known)))]
        canvas.paste(image.resize((side, side)), (x, y))
        points.append(landmarks * side / image.width + [x, y])
    return Scene(kind, np.asarray(canvas, np.uint8), np.stack(points))


def scenes(count: int, seed: int) -> Iterator[Scene]:
    """Return portraits, group pictures, pictures of small faces and of one large and small ones."""
    known = list(portraits(1350))
    for image, landmarks in known:
        yield Scene("portrait", np.asarray(image, np.uint8), landmarks[None])
    for number in range(count):
        random = np.random.default_rng([seed, number])
        group = random.integers(180, 420, 5).tolist()
        yield composed("group", known, group, random)
        small = random.integers(90, 150, 8).tolist()
        yield composed("small faces", known, small, random)
        audience = [900, *random.integers(90, 150, 4).tolist()]
        yield composed("one large, four small", known, audience, random)


def detectors() -> dict[str, FaceDetector]:
    """Return what is compared: the default, CenterFace at full size always, and YuNet."""
    thorough = FaceDetector()
    thorough._search = replace(thorough._search, scout=None)
    return {"thorough": thorough, "centerface": FaceDetector(), "yunet": FaceDetector("yunet")}


def matched(faces: list[Face], known: NDArray[np.float64]) -> list[float]:
    """Return the landmarks' mean error of each known face that was found, in eye distances."""
    errors = []
    for points in known:
        eyes = float(np.linalg.norm(points[1] - points[0]))
        off = [float(np.linalg.norm(f.landmarks - points, axis=1).mean()) / eyes for f in faces]
        errors += [min(off)] if off and min(off) < 0.5 else []
    return errors


def cpu_seconds(action: Callable[[], object]) -> float:
    """Return the CPU time of the second of two runs."""
    action()
    start = time.process_time()
    action()
    return time.process_time() - start


def measure(count: int, seed: int) -> list[dict[str, Any]]:
    """Return a row for each kind of image and detector."""
    rows: dict[tuple[str, str], dict[str, list[float]]] = {}
    compared = detectors()
    for scene in scenes(count, seed):
        for name, detector in compared.items():
            faces = detector.detect(scene.image)
            errors = matched(faces, scene.landmarks)
            row = rows.setdefault(
                (scene.kind, name), {"s": [], "known": [], "errors": [], "no": []}
            )
            row["s"].append(cpu_seconds(partial(detector.detect, scene.image)))
            row["known"].append(len(scene.landmarks))
            row["errors"] += errors
            row["no"].append(len(faces) - len(errors))
    table = []
    for (kind, name), row in rows.items():
        known, found = int(sum(row["known"])), len(row["errors"])
        thorough = rows[kind, "thorough"]["s"]
        table.append(
            {
                "images": kind,
                "detector": name,
                "count": len(row["s"]),
                "cpu_seconds": median(row["s"]),
                "times_faster": median(a / b for a, b in zip(thorough, row["s"], strict=True)),
                "faces": known,
                "found": found,
                "share": share_right(torch.arange(known) < found),
                "false": int(sum(row["no"])),
                "landmark_error": median(row["errors"]) if row["errors"] else None,
            }
        )
    return table


def images_a_second(nets_at_once: int, threads: int = 8, images: int = 16) -> float:
    """Return how many images of 512 pixels eight threads do together, in wall time."""
    nets._allowed = threading.BoundedSemaphore(nets_at_once)
    (scene, *_), detector = list(portraits(512)), detectors()["thorough"]
    pixels = np.asarray(scene[0], np.uint8)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(detector.detect, [pixels] * threads))
        start = time.perf_counter()
        list(pool.map(detector.detect, [pixels] * images))
        return images / (time.perf_counter() - start)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--threads", action="store_true", help="measure eight threads instead")
    args = parser.parse_args()
    if args.threads:
        for count in (1, os.cpu_count() or 1):
            rates = sorted(images_a_second(count) for _ in range(3))
            print(
                f"{count} nets at once: {rates[1]:.2f} images/s ({rates[0]:.2f} to {rates[2]:.2f})"
            )
        return
    rows = measure(args.scenes, args.seed)
    print("| images | detector | CPU s | times faster | found (95 % CI) | false | landmark error |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        low, high = row["share"]["accuracy_ci95"]
        error = "" if row["landmark_error"] is None else f"{row['landmark_error']:.3f}"
        print(
            f"| {row['images']} ({row['count']}) | {row['detector']} | {row['cpu_seconds']:.2f} | "
            f"{row['times_faster']:.1f} | {row['found']} of {row['faces']} ({low:.2f} to "
            f"{high:.2f}) | {row['false']} | {error} |"
        )
    if args.output:
        found = {"scenes": args.scenes, "seed": args.seed, "rows": rows}
        args.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
