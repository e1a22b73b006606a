"""CK+: filmed faces that go from neutral to an expression, 123 people.

Source: Lucey et al., "The Extended Cohn-Kanade Dataset (CK+): A complete dataset for action unit
and emotion-specified expression", CVPR Workshops 2010. Terms: non-commercial research, by an
agreement with the University of Pittsburgh; only some of the people may be shown in print.

Two layouts. The release, after its two archives are unpacked side by side::

    ROOT/cohn-kanade-images/S005/001/S005_001_00000011.png     (or in extended-cohn-kanade-images/)
    ROOT/Emotion/S005/001/S005_001_00000011_emotion.txt        (or in Emotion_labels/)

and the folder copy of 48x48 pixels that most code on the web uses (CK+48)::

    ROOT/{anger,contempt,disgust,fear,happy,sadness,surprise[,neutral]}/S010_004_00000017.png

Codes: 0 neutral 1 anger 2 contempt 3 disgust 4 fear 5 happy 6 sadness 7 surprise, written as
``3.0000000e+00``. 593 sequences, of which 327 have a label (118 people): 45 anger, 18 contempt,
59 disgust, 25 fear, 69 happy, 28 sadness, 83 surprise; 0 is never used. A label belongs to the
last frame, the peak. As is usual, the last three frames of a labeled sequence carry its class and
the first one is neutral: 981 + 327 images. The folder copy holds those 981 images.

The owners give no split. The literature reports the mean of a 10-fold cross-validation that parts
no person. Here is **one fixed split** of that kind, with which its figures compare only roughly: a
person is in ``test`` if the hash of the subject's number says so, which is the same on every
machine and for both layouts (26 of the 118); ``validation`` is carved out of ``train`` by person.

Traps: splits by image, common in code on the web, test on people, even on sequences, that were
trained on. The neutral frames of one person are near-copies. The release's frames (about 640x490)
need the face cut out, those of the folder copy do not. Many report seven classes or six.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from emodc.data.face_data import SPLITS
from emodc.data.readers.ckplus_split import CODES, LAST_FRAMES, is_tested, official_counts
from emodc.data.readers.path_hints import advice
from emodc.data.release import (
    Release,
    file_reader,
    file_stamp,
    identifier,
    skipped_by_id,
    unlisted_in,
)
from emodc.faces.listing import Skipped, list_files, list_folder, list_folders
from emodc.labels import BASIC8, canonical_name
from emodc.support.parsing import read_text

_TERMS = "images of CK+, non-commercial research only, by an agreement with their owners"
_IMAGES = ("cohn-kanade-images", "extended-cohn-kanade-images/cohn-kanade-images")
_LABELS = ("Emotion", "Emotion_labels/Emotion", "Emotion_labels")
_LABEL_END = "_emotion.txt"
_FRAME = re.compile(r"(S\d{3})_(\d{3})_(\d+)")
_EXPECTED = (
    "expected cohn-kanade-images and Emotion (or Emotion_labels/Emotion), or one folder a class: "
    f"{', '.join(BASIC8.classes)}"
)


def read_ckplus(root: Path, *, last_frames: int = LAST_FRAMES, neutral: bool = True) -> Release:
    """Read CK+; of the images only the names are read.

    Args:
        root: the folder, in one of the layouts above.
        last_frames: how many frames at the end of a labeled sequence carry its class.
        neutral: the first frame of a labeled sequence is taken as neutral, unless it is one of
            the last as well.

    Returns:
        Images as (H, W, 3) uint8 RGB, whole as they are. An id is the path relative to
        ``root``. Sequences without a label give no row; the notes count them.

    Raises:
        ValueError: the layout cannot be understood, a label is malformed, a labeled sequence has
            no frames, a name in the folder copy has no subject, or the options do not fit the
            layout; the message says what was expected where.
    """
    if last_frames < 1:
        raise ValueError(f"last_frames must be at least 1, not {last_frames}")
    images, labels = _find(root, _IMAGES), _find(root, _LABELS)
    if images and labels:
        return _read_sequences(root, images, labels, last_frames, neutral)
    if not _is_folder_copy(root):
        found = images or labels
        problem = f"has {found.name}, but not the other folder" if found else "not a CK+ folder"
        raise ValueError(f"{root}: {problem}; {_EXPECTED}{advice(root, _fits)}")
    if (last_frames, neutral) != (LAST_FRAMES, True):
        raise ValueError(
            f"{root}: the frames of a folder copy were chosen when it was made; leave out "
            "last_frames and neutral, or give the release itself"
        )
    return _read_folder_copy(root)


def _read_sequences(
    root: Path, images: Path, labels: Path, last_frames: int, neutral: bool
) -> Release:
    frames, stray, skipped = _list_frames(images)
    label_of = _list_labels(labels)
    files: list[Path] = []
    classes: list[str] = []
    for sequence, file in label_of.items():
        if sequence not in frames:
            raise ValueError(
                f"{file}: labels the sequence {sequence}, but {images / sequence} holds none of "
                "its frames; unpack the whole archive of images"
            )
        upto = _up_to_peak(frames[sequence], file)
        last = upto[-last_frames:]
        first = upto[:1] if neutral and len(upto) > last_frames else []
        files += [*first, *last]
        classes += ["neutral"] * len(first) + [_read_class(file)] * len(last)
    usual = (last_frames, neutral) == (LAST_FRAMES, True)
    official = official_counts(neutral=True) if usual else {}
    notes = {"sequences": len(frames), "sequences without label": len(frames) - len(label_of)}
    whole = _release(root, files, classes, skipped, official=official, notes=notes)
    return replace(whole, unlisted=[identifier(file, root) for file in stray])


_Frames = dict[str, dict[int, Path]]


def _list_frames(images: Path) -> tuple[_Frames, list[Path], list[Skipped]]:
    """Return the frames by sequence ("S005/001") and number, other images, and what is skipped."""
    frames: _Frames = {}
    stray: list[Path] = []
    listing = list_folder(images, recursive=True)
    for file in listing.images:
        sequence, number = _place(file, images, file.stem)
        if not sequence or frames.setdefault(sequence, {}).setdefault(number, file) != file:
            stray.append(file)
    return frames, stray, listing.skipped


def _list_labels(labels: Path) -> dict[str, Path]:
    """Return the label file of each sequence that has one."""
    label_of: dict[str, Path] = {}
    for file in list_files(labels, recursive=True):
        if not file.name.endswith(_LABEL_END):
            continue
        sequence, _ = _place(file, labels, file.name.removesuffix(_LABEL_END))
        if not sequence:
            raise ValueError(
                f"{file}: expected names such as S005/001/S005_001_00000011{_LABEL_END}; move or "
                "rename the file"
            )
        if sequence in label_of:
            raise ValueError(
                f"{file}: the sequence {sequence} has a label already ({label_of[sequence].name}); "
                "keep the one of the release"
            )
        label_of[sequence] = file
    if not label_of:
        raise ValueError(f"{labels}: no *{_LABEL_END} in its folders; unpack Emotion_labels.zip")
    return label_of


def _place(file: Path, root: Path, name: str) -> tuple[str, int]:
    """Return the sequence and frame that a file's name states, if its folders state the same."""
    match = _FRAME.fullmatch(name)
    sequence = file.parent.relative_to(root).as_posix()
    if match is None or sequence != f"{match[1]}/{match[2]}":
        return "", -1
    return sequence, int(match[3])


def _up_to_peak(frames: Mapping[int, Path], label: Path) -> list[Path]:
    """Return the frames of a sequence in order, up to the one that the label names.

    That one is listed even if its file is missing: else another would silently stand in.
    """
    name = label.name.removesuffix(_LABEL_END)
    peak = int(name.rpartition("_")[2])
    some = next(iter(frames.values()))
    listed = {peak: some.with_name(name + some.suffix), **frames}
    return [listed[number] for number in sorted(listed) if number <= peak]


def _read_class(file: Path) -> str:
    content = read_text(file).strip()
    try:
        code = float(content)
    except ValueError:
        code = -1.0
    if code not in range(len(CODES)):
        raise ValueError(
            f"{file}, line 1: '{content[:40]}' instead of one number 0 to {len(CODES) - 1}; "
            "restore the file from the release"
        )
    return CODES[int(code)]


def _read_folder_copy(root: Path) -> Release:
    files: list[Path] = []
    classes: list[str] = []
    stray, skipped = unlisted_in(root, frozenset())
    seen: dict[str, Path] = {}
    for folder in list_folders(root):
        name = canonical_name(folder.name)
        if name not in BASIC8.classes:
            raise ValueError(
                f"{folder}: '{folder.name}' is no class of CK+; accepted are "
                f"{', '.join(BASIC8.classes)}: move the folder away"
            )
        found = list_folder(folder, recursive=True)
        skipped += found.skipped
        for file in found.images:
            if not re.match(r"S\d{3}_", file.name):
                raise ValueError(
                    f"{file}: the name does not start with a subject, as S010_004_00000017.png "
                    "does, so that the splits could not part people; keep the names of the release"
                )
            if file.name in seen:
                raise ValueError(f"{file}: is {seen[file.name]} as well; keep one of the two")
            seen[file.name] = file
        files += found.images
        classes += [name] * len(found.images)
    whole = _release(
        root, files, classes, skipped, official=official_counts(neutral=False), notes={}
    )
    return replace(whole, unlisted=[identifier(file, root) for file in stray])


def _release(
    root: Path,
    files: Sequence[Path],
    classes: Sequence[str],
    skipped: Iterable[Skipped],
    *,
    official: Mapping[str, Mapping[str, int]],
    notes: Mapping[str, int | str],
) -> Release:
    subjects = [file.name[:4] for file in files]
    tested = {subject: is_tested(subject) for subject in set(subjects)}
    splits = [SPLITS.index("test" if tested[subject] else "train") for subject in subjects]
    reason = "none of the subjects found belongs to it, which a hash of their numbers decides"
    return Release(
        name="ckplus",
        label_set=BASIC8,
        ids=[identifier(file, root) for file in files],
        splits=np.array(splits, dtype=np.int8),
        labels=np.array([BASIC8.index(name) for name in classes], dtype=np.int64),
        reader=file_reader(files),
        stamp=file_stamp(files),
        subjects=subjects,
        skipped=skipped_by_id(skipped, root),
        official=official,
        absent=dict.fromkeys(SPLITS, reason),
        notes=notes,
        terms=_TERMS,
    )


def _find(root: Path, candidates: Iterable[str]) -> Path | None:
    return next((root / name for name in candidates if (root / name).is_dir()), None)


def _fits(folder: Path) -> bool:
    whole = _find(folder, _IMAGES) is not None and _find(folder, _LABELS) is not None
    return whole or _is_folder_copy(folder)


def _is_folder_copy(folder: Path) -> bool:
    try:
        names = {canonical_name(path.name) for path in list_folders(folder)}
    except ValueError:
        return False
    return len(names & set(BASIC8.classes)) > 1
