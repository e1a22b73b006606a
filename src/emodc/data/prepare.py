"""Preparing a data set: every labelled picture detected, aligned, cropped and written, once.

The result is a folder that says what it is and that any tool can read::

    DIR/images/<split>/<class>/<name>.png   the crops
    DIR/data.csv         path,label,split[,subject][,attribute_*]: what csv:DIR/data.csv opens
    DIR/classes.json     the classes, those without a picture too
    DIR/manifest.json    where it comes from, the settings, counts, SHA-256 of every file
    DIR/failures.csv     pictures without a crop, and why

A picture in which no face is found fails; its whole is never taken instead.

Splits are honest: training pictures that are also evaluated on, pixel for pixel, are left out, and
where the owners give no validation split, one is carved out of train (`emodc.data.carve`) that
parts neither the pictures of a person nor copies and near-copies of one picture
(`emodc.data.duplicates`).

While the work goes on, every finished picture is entered in a journal. Running again after an
interruption, even a ``kill -9``, takes these as they are and ends with the same bytes.
"""

import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emodc.data.base import SPLITS
from emodc.data.carve import carve
from emodc.data.csv_list import MANIFEST
from emodc.data.duplicates import Prints, Progress, group_keys, near_pairs, take_prints
from emodc.data.release import Release
from emodc.faces import (
    ARCFACE_GEOMETRY,
    FER2013_GEOMETRY,
    CropGeometry,
    FaceDetector,
    crop_face,
    whole_image_crop,
    with_margin,
)

GEOMETRIES: Mapping[str, CropGeometry] = {
    "arcface": ARCFACE_GEOMETRY,
    "fer2013": FER2013_GEOMETRY,
}
"""Where crops can show the landmarks, by name."""

LIST, FAILURES, CLASSES = "data.csv", "failures.csv", "classes.json"
_JOURNAL = "journal.jsonl"
_FORMAT = 1


def prepare(
    release: Release,
    folder: Path,
    *,
    size: int = 112,
    geometry: str | None = "arcface",
    margin: float = 0.0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write the crops of a data set, or go on writing them.

    Args:
        release: the data set.
        folder: created if missing.
        size: side of the crops in pixels.
        geometry: where they show the landmarks, one of `GEOMETRIES`; None takes every picture for
            a face crop already and only makes it square and resizes it.
        margin: see `emodc.faces.with_margin`.
        progress: called as pictures are decoded, then from 0 again as they are written.

    Returns:
        The manifest: ``data``, ``classes``, ``settings``, ``geometry`` by landmark (None without
        alignment), ``terms``, ``written`` by split, ``failed``, ``left_out`` (training pictures
        that are evaluated on), and ``files``, the SHA-256 of each.

    Raises:
        ValueError: an unknown geometry, or the folder holds other data or settings.
        ImportError: faces are looked for and the extra `faces` is not installed.
        OSError: the folder cannot be written; what is finished is kept.
    """
    if geometry is not None and geometry not in GEOMETRIES:
        raise ValueError(f"unknown geometry '{geometry}': accepted are {', '.join(GEOMETRIES)}")
    target = None if geometry is None else with_margin(GEOMETRIES[geometry], margin)
    settings = {"size": size, "geometry": geometry, "margin": margin}
    journal = _Journal(folder, {"format": _FORMAT, "settings": settings, **_identity(release)})
    detector = None if target is None else FaceDetector()

    rows = np.flatnonzero(release.labels >= 0)
    prints = take_prints(release.reader, rows, progress)
    failures = {int(rows[i]): reason for i, reason in prints.errors.items()}
    splits, left_out = _splits(release, rows, prints)
    kept = [int(row) for row in rows[splits >= 0] if int(row) not in failures]
    split_of = dict(zip(rows.tolist(), splits.tolist(), strict=True))
    listed: list[tuple[int, str]] = []
    for done, row in enumerate(kept, start=1):
        name = _file_name(release, row, SPLITS[split_of[row]])
        try:
            if not journal.has(name):
                picture = _rgb(release.reader(row))
                journal.add(name, _crop(picture, target, detector, size))
            listed.append((row, name))
        except _NoFace as failure:
            failures[row] = str(failure)
        if progress is not None:
            progress(done, len(kept))

    _write(folder / LIST, _data_csv(release, listed, split_of))
    names = {name: name for name in release.label_set.classes}
    _write(folder / CLASSES, _json(names))
    failed = [[release.ids[row], failures[row]] for row in sorted(failures)]
    _write(folder / FAILURES, _csv([["id", "reason"], *failed]))
    written = Counter(SPLITS[split_of[row]] for row, _ in listed)
    manifest = {
        "format": _FORMAT,
        "data": release.name,
        "classes": list(release.label_set.classes),
        "settings": settings,
        "geometry": None if target is None else target.to_dict(),
        "terms": release.terms,
        "written": {split: written[split] for split in SPLITS},
        "failed": len(failures),
        "left_out": left_out,
        "files": {name: journal.digest(name) for _, name in listed},
    }
    _write(folder / MANIFEST, _json(manifest))
    return manifest


class _NoFace(ValueError):
    """There is no face to crop."""


class _Journal:
    """Writes crops and remembers which are finished; its first line says of what.

    Raises:
        ValueError: the folder holds crops of something else.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self._folder, self._file = folder, folder / _JOURNAL
        self._digests: dict[str, str] = {}
        folder.mkdir(parents=True, exist_ok=True)
        if not self._file.exists():
            if any(folder.iterdir()):
                raise ValueError(f"{folder}: holds something else; choose another --output")
            _write(self._file, (json.dumps(identity) + "\n").encode())
        lines = self._file.read_text(encoding="utf-8").splitlines()
        if not lines or json.loads(lines[0]) != identity:
            raise ValueError(
                f"{folder}: holds a preparation of other data or with other settings; "
                "choose another --output"
            )
        for line in lines[1:]:
            name, _, digest = line.rpartition(" ")
            if len(digest) == 64:  # a killed process may have left half a line
                self._digests[name] = digest
        whole = "".join(f"{name} {digest}\n" for name, digest in self._digests.items())
        _write(self._file, f"{lines[0]}\n{whole}".encode())

    def has(self, name: str) -> bool:
        """Tell whether this crop is finished and still there as it was written."""
        known, path = self._digests.get(name), self._folder / name
        return known is not None and path.exists() and _digest(path.read_bytes()) == known

    def add(self, name: str, content: bytes) -> None:
        """Write a crop and enter it."""
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, content)
        self._digests[name] = _digest(content)
        with self._file.open("a", encoding="utf-8") as file:
            file.write(f"{name} {self._digests[name]}\n")

    def digest(self, name: str) -> str:
        """Return the SHA-256 of a finished crop."""
        return self._digests[name]


def _identity(release: Release) -> dict[str, Any]:
    digest = hashlib.sha256()
    for row, name in enumerate(release.ids):
        digest.update(f"{name}\t{release.labels[row]}\t{release.stamp(row)}\n".encode())
    classes = list(release.label_set.classes)
    return {"data": release.name, "classes": classes, "rows": digest.hexdigest()}


def _splits(
    release: Release, rows: NDArray[np.int64], prints: Prints
) -> tuple[NDArray[np.int64], int]:
    """Return (N,) the split of each row, -1 for one left out, and how many are left out."""
    splits = release.splits[rows].astype(np.int64)
    train, validation = SPLITS.index("train"), SPLITS.index("validation")
    in_train = splits == train
    seen = in_train & prints.readable & np.isin(prints.first, prints.first[~in_train])
    splits[seen] = -1
    free = np.flatnonzero(splits == train)
    if len(free) and not len(release.rows("validation")):
        keys = [
            release.ids[row] if release.subjects is None else release.subjects[row] for row in rows
        ]
        alike = [(i, int(first)) for i, first in enumerate(prints.first) if first >= 0]
        keys = group_keys(keys, [*alike, *map(tuple, near_pairs(prints).tolist())])
        aside = carve([keys[i] for i in free], release.labels[rows[free]])
        splits[free[aside]] = validation
    return splits, int(seen.sum())


def _crop(
    picture: NDArray[np.uint8],
    target: CropGeometry | None,
    detector: FaceDetector | None,
    size: int,
) -> bytes:
    """Return the crop of a picture as PNG."""
    if target is None or detector is None:
        crop = whole_image_crop(picture, size)
    else:
        faces = detector.detect(picture)
        if not faces:
            raise _NoFace("no face found")
        crop = crop_face(picture, faces[0], target, size)
    content = io.BytesIO()
    Image.fromarray(crop).save(content, format="PNG")
    return content.getvalue()


def _rgb(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return picture if picture.ndim == 3 else np.repeat(picture[:, :, None], 3, axis=2)


def _file_name(release: Release, row: int, split: str) -> str:
    """Return a path for the crop of a row that any file system takes and no other row has."""
    label = release.label_set.classes[release.labels[row]].replace(" ", "_")
    stem = re.sub(r"[^A-Za-z0-9-]+", "_", Path(release.ids[row]).with_suffix("").as_posix())
    return f"images/{split}/{label}/{row:07d}_{stem[-80:].strip('_')}.png"


def _data_csv(
    release: Release, listed: Sequence[tuple[int, str]], split_of: Mapping[int, int]
) -> bytes:
    subjects, names = release.subjects, list(release.attributes)
    header = ["path", "label", "split", *(["subject"] if subjects is not None else [])]
    table = [[*header, *(f"attribute_{name}" for name in names)]]
    for row, path in listed:
        label = release.label_set.classes[release.labels[row]]
        who = [] if subjects is None else [subjects[row]]
        known = [release.attributes[name][row] for name in names]
        table.append([path, label, SPLITS[split_of[row]], *who, *known])
    return _csv(table)


def _csv(table: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(table)
    return text.getvalue().encode()


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write(path: Path, content: bytes) -> None:
    """Write a file so that a killed process leaves it whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
