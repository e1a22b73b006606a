"""A CSV file that lists your images.

A comma-separated UTF-8 file with a header; every further row is an image::

    path,label,split,subject,attribute_gender
    faces/0001.png,happy,train,S005,female
    faces/0002.png,,test,S010,

``path`` is relative to the folder of the CSV file (or absolute) and written with ``/``.
``label`` is a class in any spelling of the vocabulary; other names need a ``classes.json`` beside
the CSV file (see `emodc.data.readers.class_names`). An empty one means that the image has no
label: it is counted, but neither trained nor evaluated on.

The other columns are optional. ``split`` is train, validation or test (or another of
`emodc.data.readers.split_names.SPLIT_KEYWORDS`); without the column
every image belongs to ``test``, because the same images cannot be trained on and reported as
if they were new. ``subject`` says who is seen: a validation split carved out of train then parts no
person's images. ``attribute_<name>`` is anything to report by.

Columns by any other name are refused, so that a misspelt ``split`` cannot turn training images
into test images.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from emodc.data.face_data import SPLITS
from emodc.data.readers.class_names import ClassNames
from emodc.data.readers.listing import ATTRIBUTE, Entry, read_table, release_of
from emodc.data.readers.split_names import split_named
from emodc.data.release import Release
from emodc.faces.geometry import CropGeometry
from emodc.support.parsing import MAX_TEXT_BYTES, read_json

MANIFEST = "manifest.json"
"""The file beside a list in which `emodc.data.prepare` describes the images."""

_NEEDED = ("path", "label")
_ACCEPTED = (*_NEEDED, "split", "subject")


def read_csv_list(file: Path) -> Release:
    """Read a CSV list of images; no image is read or looked for.

    Args:
        file: the CSV file.

    Returns:
        Images as (H, W, 3) uint8 RGB of any size, read on demand. Classes are those in use, in
        the order of `BASIC8`, then `COMPOUND11`; with a ``classes.json`` those it declares, known
        ones first. An id is the image's path relative to the folder of ``file``.

    Raises:
        ValueError: there is no such file, or it is malformed; the message names file and line
            and says what is accepted.
    """
    if file.is_dir():
        inside = sorted(path.name for path in file.glob("*.csv"))
        held = f" (it holds {', '.join(inside)})" if inside else ""
        raise ValueError(f"{file}: a folder{held}; give the path of a CSV file")
    rows = read_table(file, partial(_check_columns, file))
    folder = str(file.parent)
    entries = [_entry(place, cells, folder) for place, cells in rows]
    if "split" in rows[0][1]:
        absent = {split: f"{file} has no labeled row with the split '{split}'" for split in SPLITS}
    else:
        absent = dict.fromkeys(
            SPLITS,
            f"{file} has no column 'split', so all its rows are the test split; add that column",
        )
    names = ClassNames.beside(file.parent, "label")
    release = release_of("csv", file, file.parent, entries, names, absent=absent)
    return replace(release, **_manifest(file.parent / MANIFEST))


def _manifest(file: Path) -> dict[str, Any]:
    """Return what `emodc data prepare` wrote beside its list about the images, if it did."""
    if not file.exists():
        return {}
    try:
        written = read_json(file, MAX_TEXT_BYTES)  # it lists a checksum for every image
        crop = written["geometry"]
        return {
            "terms": str(written["terms"]),
            "geometry": None if crop is None else CropGeometry.from_dict(crop),
        }
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(
            f"{file}: not a manifest that emodc data prepare wrote ({error}); restore it, or "
            "delete it and lose what it tells of crops and terms"
        ) from None


def _check_columns(file: Path, columns: Sequence[str]) -> None:
    accepted = f"{', '.join(_NEEDED)} and optionally split, subject and {ATTRIBUTE}<name>"
    if missing := [column for column in _NEEDED if column not in columns]:
        raise ValueError(
            f"{file}, line 1: no column {' and no column '.join(missing)} in the header "
            f"'{','.join(columns)[:60]}'; accepted columns, separated by commas, are {accepted}"
        )
    for column in columns:
        if column not in _ACCEPTED and not column.startswith(ATTRIBUTE):
            raise ValueError(
                f"{file}, line 1: unknown column '{column}'; accepted are {accepted}: remove it "
                f"or call it '{ATTRIBUTE}{column}'"
            )


def _entry(place: str, cells: dict[str, str], folder: str) -> Entry:
    split = split_named(cells["split"], place) if "split" in cells else SPLITS.index("test")
    return Entry(place, cells["path"], folder, split, cells["label"], cells)
