"""Hugging Face datasets: a folder in one of their two forms, or one of the hub.

An ``imagefolder`` with metadata, which needs nothing beyond this package::

    ROOT/{train,validation,test}/metadata.jsonl      {"file_name": "0001.png", "label": "happy"}
    ROOT/{train,validation,test}/0001.png

``metadata.csv`` does as well. A single metadata file in ROOT lists the whole: if ROOT has split
folders too, every ``file_name`` in it must begin with one of them; otherwise all is ``test``.

A dataset written by ``save_to_disk`` of the package ``datasets``, which needs the extra ``hf``:
``dataset_dict.json`` and a folder a split, or a single dataset (``state.json``), which is
``test``. Its images are the one column of type Image, decoded only when they are read.

A dataset of the hub, by its id (``hf:owner/name``), is downloaded by the same package, to its own
cache, and read like a saved one.

The label is the one field or column called label, expression, emotion or text-label: a class in
any spelling of the vocabulary, null or empty for none, or an integer. The names of a ClassLabel
column tell what its integers mean and which classes there are; other integers, and names beyond the
vocabulary, need ``ROOT/classes.json`` (see `emodc.data.readers.class_names`). ``subject`` and
``attribute_<name>`` are read as in a CSV list; other fields are left alone.

Source: the documentation of the package ``datasets`` ("ImageFolder", ``save_to_disk``), whose
names of splits are accepted: training, valid, dev, eval, ... as well. The terms are those of
whoever made the dataset.
"""

import os
import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import replace
from pathlib import Path

from emodc.data.face_data import SPLITS
from emodc.data.readers.class_names import ClassNames
from emodc.data.readers.listing import Entry, read_table, release_of
from emodc.data.readers.path_hints import advice
from emodc.data.readers.saved_dataset import (
    is_read,
    label_field,
    read_hub,
    read_saved,
    text_of,
)
from emodc.data.readers.split_names import SPLIT_KEYWORDS, check_one_each, split_named
from emodc.data.release import Release, identifier
from emodc.faces.formats import IMAGE_SUFFIXES
from emodc.faces.listing import is_ignored, natural_key
from emodc.support.parsing import parse_json, read_text

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_METADATA = ("metadata.jsonl", "metadata.csv")


def read_hugging_face(root: Path) -> Release:
    """Read a dataset in one of the forms above; no image is decoded.

    Args:
        root: the folder, or the id of a dataset of the hub.

    Returns:
        Images as (H, W, 3) uint8 RGB of any size. An id is the image's path relative to
        ``root``; in a saved dataset, which has no files, the split and the number of the row.

    Raises:
        ValueError: the layout cannot be understood or the metadata are malformed; the message
            names file and line, or the row.
        ImportError: the dataset was written by ``save_to_disk`` or is one of the hub, and the
            extra `hf` is not installed.
    """
    if _HUB_ID.fullmatch(root.as_posix()) and not root.exists():
        return read_hub(root.as_posix())
    if not root.is_dir():
        problem = "not a folder" if root.exists() else "no such folder"
        raise ValueError(f"{root}: {problem}; give the folder of a dataset")
    parent = root.absolute().parent
    if (parent / "dataset_dict.json").is_file() or root.absolute() in _metadata(parent):
        raise ValueError(f"{root}: one split of a dataset; give {parent}, which holds them all")
    if _is_saved(root):
        return read_saved(root)
    metadata = _metadata(root)
    if not metadata:
        raise ValueError(
            f"{root}: no {' or '.join(_METADATA)} in it or its split folders, and not written by "
            f"save_to_disk{advice(root, _is_dataset)}; class folders without metadata open as "
            "folder:PATH, Parquet files after datasets.load_dataset(...).save_to_disk(...)"
        )
    return _read_image_folder(root, metadata)


def _is_saved(folder: Path) -> bool:
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def _is_dataset(folder: Path) -> bool:
    return _is_saved(folder) or bool(_metadata(folder))


def _metadata(root: Path) -> dict[Path, Path]:
    """Return folder -> metadata file, for the root and for those inside named after a split."""
    try:
        inside = sorted(path for path in root.iterdir() if path.name.lower() in SPLIT_KEYWORDS)
    except OSError:
        inside = []
    found: dict[Path, Path] = {}
    for folder in (root, *inside):
        for name in _METADATA:
            if (folder / name).is_file():
                found.setdefault(folder, folder / name)
    return found


def _read_image_folder(root: Path, metadata: Mapping[Path, Path]) -> Release:
    folders = [
        path
        for path in sorted(root.iterdir())
        if path.name.lower() in SPLIT_KEYWORDS and path.is_dir()
    ]
    check_one_each(root, [folder.name for folder in folders])
    if root in metadata and len(metadata) > 1:
        raise ValueError(
            f"{root}: {', '.join(map(str, metadata.values()))} list images; keep either the file "
            "of the whole or those of the splits"
        )
    entries: list[Entry] = []
    for folder in [root] if root in metadata else folders:
        if folder not in metadata:
            raise ValueError(
                f"{folder}: no {' or '.join(_METADATA)}, unlike {next(iter(metadata))}"
            )
        if all((folder / name).is_file() for name in _METADATA):
            raise ValueError(f"{folder}: both {' and '.join(_METADATA)}; keep one of them")
        for place, cells in _rows(metadata[folder]):
            file = cells.get("file_name", "")
            if not file:
                raise ValueError(f"{place}: no file_name; write one or remove the row")
            if folder != root:
                split = split_named(folder.name, folder)
            elif folders:
                start = f"{place}: '{file}' must begin with a split folder"
                split = split_named(file.partition("/")[0], start)
            else:
                split = SPLITS.index("test")
            label = cells[label_field(cells, place)]
            entries.append(Entry(place, file, str(folder), split, label, cells))
    held = ", ".join(folder.name for folder in folders)
    reason = (
        f"{root} has only {held} with labels"
        if held
        else f"without split folders all images of {root} are the test split"
    )
    names = ClassNames.beside(root, "label")
    release = release_of("hf", root, root, entries, names, absent=dict.fromkeys(SPLITS, reason))
    return replace(release, unlisted=_unlisted(root, metadata, set(release.ids)))


def _unlisted(root: Path, folders: Iterable[Path], listed: Set[str]) -> list[str]:
    """Return the images in these folders that are not listed.

    Not by `list_folder`, which would sort a hundred thousand listed files to find none.
    """
    found: list[Path] = []
    for top in folders:
        for parent, inside, files in os.walk(top):
            inside[:] = [name for name in inside if not is_ignored(name)]
            start = "" if Path(parent) == root else f"{Path(parent).relative_to(root).as_posix()}/"
            found += [Path(parent, name) for name in files if f"{start}{name}" not in listed]
    images = [
        file
        for file in found
        if file.suffix.lower() in IMAGE_SUFFIXES and not is_ignored(file.name)
    ]
    return sorted((identifier(file, root) for file in images), key=natural_key)


def _rows(file: Path) -> list[tuple[str, dict[str, str]]]:
    """Return place and fields of every row of a metadata file."""
    if file.suffix == ".csv":
        return read_table(file, lambda columns: None)
    rows = []
    for number, line in enumerate(read_text(file).split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{file}, line {number}"
        fields = parse_json(line, place)
        if not isinstance(fields, dict):
            raise ValueError(f'{place}: expected an object such as {{"file_name": "1.png", ...}}')
        read = [field for field in fields if field == "file_name" or is_read(field)]
        rows.append((place, {field: text_of(fields[field], field, place) for field in read}))
    if not rows:
        raise ValueError(f"{file}: no row; list one image a line")
    return rows
