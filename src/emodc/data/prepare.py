"""Preparing a dataset: every labeled image detected, aligned, cropped and written, once.

The result is a folder that says what it is and that any tool can read::

    DIR/images/<split>/<class>/<name>.png   the crops
    DIR/data.csv         path,label,split[,subject][,attribute_*]: what csv:DIR/data.csv opens
    DIR/classes.json     the classes, those without an image too
    DIR/manifest.json    where it comes from, the settings, counts, SHA-256 of every file
    DIR/failures.csv     images without a crop, and why
    DIR/journal.jsonl    what is finished

An image in which no face is found fails; its whole is never taken instead. Of several faces the
largest is taken.

Splits are honest: training images that are also evaluated on, pixel for pixel, are left out, and
where the owners give no validation split, one is carved out of train
(`emodc.data.validation_split`) that parts neither the images of a person nor copies and
near-copies of one image (`emodc.data.duplicates`).

While the work goes on, every finished image is entered in a journal. Running again after an
interruption, even a ``kill -9``, takes these as they are and ends with the same bytes.
"""

import csv
import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emodc.data.duplicates import group_keys, near_pairs, take_prints
from emodc.data.face_data import SPLITS
from emodc.data.journal import Journal, digest_of
from emodc.data.readers.csv_list import MANIFEST
from emodc.data.release import Release
from emodc.data.validation_split import carve
from emodc.faces.detector import FaceDetector, crop_face, enlarged, whole_image_crop
from emodc.faces.geometry import ARCFACE_GEOMETRY, FER2013_GEOMETRY, CropGeometry, with_margin
from emodc.faces.reading import as_rgb
from emodc.support.files import one_line, write_atomically
from emodc.support.locks import holding
from emodc.support.timing import Progress, unheard

GEOMETRIES: Mapping[str, CropGeometry] = {
    "arcface": ARCFACE_GEOMETRY,
    "fer2013": FER2013_GEOMETRY,
}
"""Where crops can show the landmarks, by name."""

LIST, FAILURES, CLASSES = "data.csv", "failures.csv", "classes.json"
_FORMAT = 1


def prepare(
    release: Release,
    folder: Path,
    *,
    size: int = 112,
    geometry: str | None = "arcface",
    margin: float = 0.0,
    splits: Sequence[str] | None = None,
    progress: Progress = unheard,
) -> dict[str, Any]:
    """Write the crops of a dataset, or go on writing them.

    Args:
        release: the dataset.
        folder: created if missing.
        size: side of the crops in pixels.
        geometry: where they show the landmarks, one of `GEOMETRIES`; None takes every image for
            a face crop already and only makes it square and resizes it.
        margin: see `emodc.faces.geometry.with_margin`.
        splits: which to write; all that have labeled images if not given.
        progress: called as images are decoded, then from 0 again as they are written.

    Returns:
        The manifest: ``data``, ``classes``, ``settings``, ``geometry`` by landmark (None without
        alignment), ``terms``; ``written`` by split and ``counts`` by split and class; ``failed``,
        how many images have no crop, and ``failures``, their ids; ``left_out``, how many training
        images are evaluated on as well; ``unlabeled``, how many images of these splits have
        no label; and the SHA-256 of the ``tables`` and of the crops, ``files``.

    Raises:
        ValueError: an unknown geometry or split, a margin without geometry, an attribute that
            cannot be read, or a folder that holds other data or settings.
        ImportError: faces are looked for and the extra `faces` is not installed.
        OSError: the folder cannot be written; what is finished is kept.
    """
    target = _target(geometry, margin)
    chosen = _chosen(release, splits)
    settings = {"size": size, "geometry": geometry, "margin": margin, "splits": chosen}
    with holding(folder):
        return _write(release, folder, settings, target, progress)


def _write(
    release: Release,
    folder: Path,
    settings: Mapping[str, Any],
    target: CropGeometry | None,
    progress: Progress,
) -> dict[str, Any]:
    """Write what is missing in a folder that no other process writes; see `prepare`."""
    chosen, size = settings["splits"], settings["size"]
    detector = None if target is None else FaceDetector()
    journal = Journal(folder, {"format": _FORMAT, "settings": settings, **_identity(release)})

    labeled = np.flatnonzero(release.labels >= 0)
    assigned, left_out = _splits(release, labeled, chosen, progress)
    pairs = zip(labeled.tolist(), assigned.tolist(), strict=True)
    split_of = {row: SPLITS[n] for row, n in pairs if n >= 0 and SPLITS[n] in chosen}
    # Now, because an attribute file that cannot be read must not be found after the work is done.
    known = {
        name: {row: values[row] for row in split_of} for name, values in release.attributes.items()
    }
    listed: dict[int, str] = {}
    failures: dict[int, str] = {}
    for done, (row, split) in enumerate(split_of.items(), start=1):
        name = _file_name(release, row, split)
        try:
            if not journal.has(name):
                journal.add(name, _crop(release.reader(row), target, detector, size))
            listed[row] = name
        except (ValueError, MemoryError) as failure:
            # Not where the data lie: that is nobody's business.
            failures[row] = one_line(failure).rpartition(f"{release.ids[row]}: ")[2]
        progress(done, len(split_of))

    failed = [[release.ids[row], reason] for row, reason in failures.items()]
    tables = {
        LIST: _data_csv(release, listed, split_of, known),
        CLASSES: _json({name: name for name in release.label_set.classes}),
        FAILURES: _csv([["id", "reason"], *failed]),
    }
    for name, content in tables.items():
        write_atomically(folder / name, content)
    manifest = {
        "format": _FORMAT,
        "data": release.name,
        "classes": list(release.label_set.classes),
        "settings": settings,
        "geometry": None if target is None else target.to_dict(),
        "terms": release.terms,
        **_counted(release, chosen, {row: split_of[row] for row in listed}),
        "failed": len(failures),
        "failures": [release.ids[row] for row in failures],
        "left_out": left_out,
        "unlabeled": _unlabeled(release, chosen),
        "tables": {name: digest_of(content) for name, content in tables.items()},
        "files": {name: journal.digest(name) for name in listed.values()},
    }
    write_atomically(folder / MANIFEST, _json(manifest))
    return manifest


def _counted(
    release: Release, chosen: Sequence[str], split_of: Mapping[int, str]
) -> dict[str, dict[str, Any]]:
    """Return how many crops are written, by split, and by split and class."""
    classes = release.label_set.classes
    counts = {split: dict.fromkeys(classes, 0) for split in chosen}
    for row, split in split_of.items():
        counts[split][classes[release.labels[row]]] += 1
    return {"written": {split: sum(counts[split].values()) for split in chosen}, "counts": counts}


def _unlabeled(release: Release, chosen: Sequence[str]) -> int:
    in_chosen = np.isin(release.splits, [SPLITS.index(split) for split in chosen])
    return int((in_chosen & (release.labels < 0)).sum())


def _target(geometry: str | None, margin: float) -> CropGeometry | None:
    if geometry is None:
        if margin:
            raise ValueError("a margin is around a face; without detection images stay whole")
        return None
    if geometry not in GEOMETRIES:
        raise ValueError(f"unknown geometry '{geometry}': accepted are {', '.join(GEOMETRIES)}")
    return with_margin(GEOMETRIES[geometry], margin)


def _chosen(release: Release, splits: Sequence[str] | None) -> list[str]:
    """Return the splits to write, in the order of `SPLITS`."""
    there = {split: bool((release.labels[release.rows(split)] >= 0).any()) for split in SPLITS}
    if not len(release.rows("validation")):
        there["validation"] = there["train"]
    for split in splits or ():
        if split not in SPLITS:
            raise ValueError(f"unknown split '{split}': accepted are {', '.join(SPLITS)}")
        if not there[split]:
            reason = release.absent.get(split, "none of its images has a label")
            raise ValueError(f"{release.name}: there is no {split} split: {reason}")
    return [split for split in SPLITS if there[split] and (splits is None or split in splits)]


def _identity(release: Release) -> dict[str, Any]:
    digest = hashlib.sha256()
    for row, name in enumerate(release.ids):
        facts = f"{name}\t{release.splits[row]}\t{release.labels[row]}\t{release.stamp(row)}\n"
        digest.update(facts.encode())
    classes = list(release.label_set.classes)
    return {"data": release.name, "classes": classes, "rows": digest.hexdigest()}


def _splits(
    release: Release, rows: NDArray[np.int64], chosen: Sequence[str], progress: Progress
) -> tuple[NDArray[np.int64], int]:
    """Return (N,) the split of each row, -1 for one left out, and how many are left out."""
    splits = release.splits[rows].astype(np.int64)
    train, validation = SPLITS.index("train"), SPLITS.index("validation")
    if chosen == ["test"]:
        return splits, 0
    prints = take_prints(release.reader, rows, progress)
    evaluated = prints.readable & (splits != train)
    seen = prints.readable & np.isin(prints.first, prints.first[evaluated])
    if release.copied is not None:
        seen |= release.copied[rows]
    seen &= splits == train
    splits[seen] = -1
    if not len(release.rows("validation")):
        names = release.ids if release.subjects is None else release.subjects
        alike = [(i, int(first)) for i, first in enumerate(prints.first) if first >= 0]
        alike += [(int(i), int(j)) for i, j in near_pairs(prints)]
        keys = group_keys([names[row] for row in rows], alike)
        free = np.flatnonzero(splits == train)
        aside = carve([keys[i] for i in free], release.labels[rows[free]])
        splits[free[aside]] = validation
    return splits, int(seen.sum())


def _crop(
    image: NDArray[np.uint8],
    target: CropGeometry | None,
    detector: FaceDetector | None,
    size: int,
) -> bytes:
    """Return the crop of an image as PNG, gray if the image is.

    Raises:
        ValueError: there is no face, or none that can be cropped.
    """
    rgb = as_rgb(image)
    if target is None or detector is None:
        crop = whole_image_crop(rgb, size)
    else:
        rgb = enlarged(rgb)
        faces = detector.detect(rgb)
        if not faces:
            raise ValueError("no face found")
        crop = crop_face(rgb, faces[0], target, size)
    content = io.BytesIO()
    Image.fromarray(crop[:, :, 0] if image.ndim == 2 else crop).save(content, format="PNG")
    return content.getvalue()


def _file_name(release: Release, row: int, split: str) -> str:
    """Return a path for the crop of a row that any file system takes and no other row has."""
    label = _plain(release.label_set.classes[release.labels[row]])
    stem = _plain(Path(release.ids[row]).with_suffix("").as_posix())[-80:]
    return f"images/{split}/{label}/{row:07d}_{stem.strip('_')}.png"


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]+", "_", text).strip("_")


def _data_csv(
    release: Release,
    listed: Mapping[int, str],
    split_of: Mapping[int, str],
    known: Mapping[str, Mapping[int, str]],
) -> bytes:
    subjects = release.subjects
    header = ["path", "label", "split", *(["subject"] if subjects is not None else [])]
    table = [[*header, *(f"attribute_{name}" for name in known)]]
    for row, path in listed.items():
        label = release.label_set.classes[release.labels[row]]
        who = [] if subjects is None else [subjects[row]]
        table.append(
            [path, label, split_of[row], *who, *(values[row] for values in known.values())]
        )
    return _csv(table)


def _csv(table: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(table)
    return text.getvalue().encode()


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()
