"""Measure where FER2013's training images show the landmarks, and check crops aligned to that.

The positions printed are the constant `emodc.faces.geometry.FER2013_GEOMETRY`:

    python scripts/fit_crop_geometry.py path/to/fer2013.csv.gz --images 4000 --sheet sheet.png

The check detects and re-aligns validation images (PublicTest) and compares each with the 48x48
original. The sheet shows originals above their re-aligned crops; FER2013's images carry no
license, so don't publish it.
"""

import argparse
import csv
import gzip
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emodc.data.alignment import NO_FACE, aligned, measured_geometry
from emodc.data.face_data import FaceData
from emodc.data.readers.fer2013_rows import FER2013_CODES, SIDE
from emodc.faces.detector import Face, FaceDetector
from emodc.faces.geometry import CropGeometry
from emodc.labels import LabelSet

THRESHOLDS = (0.3, 0.4, 0.5, 0.6)


class ScoringDetector(FaceDetector):
    """A detector that remembers the best score in each image, 0 without a face."""

    def __init__(self) -> None:
        super().__init__(threshold=min(THRESHOLDS))
        self.scores: list[float] = []

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """Find the faces in an image."""
        faces = super().detect(image)
        self.scores.append(faces[0].score if faces else 0.0)
        return faces


def read_images(path: Path, usage: str, count: int, seed: int) -> FaceData:
    """Draw gray images of one part of FER2013 without repetition, blank ones left out.

    Returns:
        `count` images, or all there are.
    """
    with gzip.open(path, "rt", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["Usage"] == usage]
    pixels = np.array([row["pixels"].split() for row in rows], dtype=np.uint8)
    labels = np.array([row["emotion"] for row in rows], dtype=np.int64)
    order = np.random.default_rng(seed).permutation(np.flatnonzero(pixels.std(axis=1) > 0))[:count]
    return FaceData(
        name="fer2013",
        split=usage,
        label_set=LabelSet("fer2013", FER2013_CODES),
        labels=labels[order],
        ids=[str(row) for row in order],
        reader=lambda index: pixels[order[index]].reshape(SIDE, SIDE),
        stamp=str,
    )


def fit(images: FaceData) -> CropGeometry:
    """Return the median landmark positions, made symmetric by counting every mirror image too."""
    detector = ScoringDetector()
    geometry = measured_geometry(images, detector, images=len(images))
    for threshold in THRESHOLDS:
        rate = np.count_nonzero(np.array(detector.scores) > threshold) / len(images)
        print(f"found at threshold {threshold}: {rate:.4f} of {len(images)}")
    if geometry is None:
        raise SystemExit("too few faces found to measure a geometry")
    return CropGeometry(tuple((round(x, 3), round(y, 3)) for x, y in geometry.landmarks))


def check(images: FaceData, geometry: CropGeometry, sheet: Path | None) -> None:
    """Detect, re-align, and correlate the crops with the images they should look like."""
    crops, pairs = aligned(images, geometry, SIDE), []
    for index in range(len(images)):
        try:
            pairs.append((images.image(index), crops.image(index)[..., 0]))
        except ValueError as error:
            if not str(error).startswith(NO_FACE):
                raise
    correlations = np.array([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in pairs])
    print(
        f"validation: found {len(pairs) / len(images):.4f} of {len(images)}; correlation of "
        f"crop and original: mean {correlations.mean():.3f}, median {np.median(correlations):.3f}"
    )
    if sheet:
        rows = []
        for start in range(0, 96, 16):
            for which in (0, 1):
                rows.append(np.hstack([pair[which] for pair in pairs[start : start + 16]]))
        Image.fromarray(np.vstack(rows)).resize((16 * 72, 12 * 72)).save(sheet)


def main() -> None:
    """Fit on training images, print the geometry, check it on validation images."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("csv", type=Path, help="fer2013.csv.gz, columns emotion,pixels,Usage")
    parser.add_argument("--images", type=int, default=4000, help="training images to measure")
    parser.add_argument("--check-images", type=int, default=1000, help="validation images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", type=Path, help="where to write the contact sheet (PNG)")
    args = parser.parse_args()
    geometry = fit(read_images(args.csv, "Training", args.images, args.seed))
    print(json.dumps(geometry.to_dict()))
    check(read_images(args.csv, "PublicTest", args.check_images, args.seed), geometry, args.sheet)


if __name__ == "__main__":
    main()
