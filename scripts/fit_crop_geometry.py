"""Measure where FER2013's training pictures show the landmarks, and check crops aligned to that.

The positions printed are the constant `emodc.faces.FER2013_GEOMETRY`:

    python scripts/fit_crop_geometry.py path/to/fer2013.csv.gz --images 4000 --sheet sheet.png

The check detects and re-aligns enlarged validation pictures (PublicTest) and compares each with the
48x48 original. The sheet shows originals above their re-aligned crops; FER2013's pictures carry no
licence, so don't publish it.
"""

import argparse
import csv
import gzip
import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emodc.faces import CropGeometry, FaceDetector, crop_face

SIDE = 48
MIRRORED = [1, 0, 2, 4, 3]  # which landmark each becomes in the mirror
THRESHOLDS = (0.3, 0.4, 0.5, 0.6)


def read_pictures(path: Path, usage: str, count: int, seed: int) -> NDArray[np.uint8]:
    """Draw pictures of one part of FER2013 without repetition, blank ones left out.

    Returns:
        (N, 48, 48) uint8 gray, N = `count` or all there are.
    """
    with gzip.open(path, "rt", newline="") as file:
        rows = (row for row in csv.DictReader(file) if row["Usage"] == usage)
        pixels = np.array([row["pixels"].split() for row in rows], dtype=np.uint8)
    pixels = pixels[pixels.std(axis=1) > 0].reshape(-1, SIDE, SIDE)
    drawn: NDArray[np.uint8] = np.random.default_rng(seed).permutation(pixels)[:count]
    return drawn


def enlarged(picture: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Return a gray picture as RGB, `factor` times larger."""
    size = (SIDE * factor, SIDE * factor)
    larger = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)
    return np.repeat(np.asarray(larger, np.uint8)[..., None], 3, axis=2)


def fit(pictures: NDArray[np.uint8], factor: int) -> CropGeometry:
    """Return the median landmark positions, made symmetric by counting every mirror image too."""
    detector = FaceDetector(threshold=min(THRESHOLDS))
    best = [faces[0] for p in pictures if (faces := detector.detect(enlarged(p, factor)))]
    scores = np.array([face.score for face in best])
    for threshold in THRESHOLDS:
        rate = np.count_nonzero(scores > threshold) / len(pictures)
        print(f"found at threshold {threshold}: {rate:.4f} of {len(pictures)}")
    points = np.stack([face.landmarks for face in best]) / (SIDE * factor)
    mirrored = (points * [-1, 1] + [1, 0])[:, MIRRORED]
    both = np.concatenate([points, mirrored])
    median = np.median(both, axis=0)
    print(f"mean distance from the median: {np.abs(both - median).mean():.4f} of the side")
    return CropGeometry(tuple((round(float(x), 3), round(float(y), 3)) for x, y in median))


def check(
    pictures: NDArray[np.uint8], geometry: CropGeometry, factor: int, sheet: Path | None
) -> None:
    """Detect, re-align, and correlate the crops with the pictures they should look like."""
    detector = FaceDetector()
    pairs = []
    for picture in pictures:
        image = enlarged(picture, factor)
        if faces := detector.detect(image):
            crop = crop_face(image, faces[0], geometry, SIDE)[..., 0]
            pairs.append((picture, crop))
    correlations = np.array([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in pairs])
    print(
        f"validation, enlarged {factor} times: found {len(pairs) / len(pictures):.4f} of "
        f"{len(pictures)}; correlation of crop and original: "
        f"mean {correlations.mean():.3f}, median {np.median(correlations):.3f}"
    )
    if sheet:
        rows = []
        for start in range(0, 96, 16):
            for which in (0, 1):
                rows.append(np.hstack([pair[which] for pair in pairs[start : start + 16]]))
        Image.fromarray(np.vstack(rows)).resize((16 * 72, 12 * 72)).save(sheet)


def main() -> None:
    """Fit on training pictures, print the geometry, check it on validation pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("csv", type=Path, help="fer2013.csv.gz, columns emotion,pixels,Usage")
    parser.add_argument("--images", type=int, default=4000, help="training pictures to measure")
    parser.add_argument("--check-images", type=int, default=1000, help="validation pictures")
    parser.add_argument("--enlarge", type=int, default=4, help="enlargement before detection")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", type=Path, help="where to write the contact sheet (PNG)")
    args = parser.parse_args()
    training = read_pictures(args.csv, "Training", args.images, args.seed)
    geometry = fit(training, args.enlarge)
    print(json.dumps(geometry.to_dict()))
    validation = read_pictures(args.csv, "PublicTest", args.check_images, args.seed)
    check(validation, geometry, args.enlarge, args.sheet)


if __name__ == "__main__":
    main()
