"""Datasets of the package ``datasets``: written by ``save_to_disk``, or downloaded from the hub.

Used by `emodc.data.readers.hugging_face`, which says what is accepted.
"""

import importlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emodc.data.face_data import SPLITS
from emodc.data.readers.class_names import ClassNames, known_subjects
from emodc.data.readers.listing import ATTRIBUTE
from emodc.data.readers.split_names import check_one_each, split_named
from emodc.data.release import Release
from emodc.faces.reading import decode_image, read_image
from emodc.support.files import one_line
from emodc.support.optional import importing
from emodc.support.parsing import read_json
from emodc.support.text import shortened

_SECONDS = 8.0  # that the hub may take to answer

LABEL_FIELDS = ("label", "expression", "emotion", "text-label")
"""The names under which a class may stand."""


def is_read(field: str) -> bool:
    """Return whether a field is a label, ``subject`` or an attribute."""
    return field in (*LABEL_FIELDS, "subject") or field.startswith(ATTRIBUTE)


def label_field(fields: Iterable[str], place: str) -> str:
    """Return which of the fields is the label.

    Raises:
        ValueError: none is, or there are several.
    """
    found = [field for field in fields if field in LABEL_FIELDS]
    if len(found) != 1:
        held = f"fields {' and '.join(found)}" if found else "no field"
        raise ValueError(
            f"{place}: {held} for the label; there must be one of {', '.join(LABEL_FIELDS)}"
        )
    return found[0]


def text_of(value: Any, field: str, place: str) -> str:
    """Return the value of a field as a CSV file would hold it.

    Raises:
        ValueError: it is neither text nor a number nor null.
    """
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{place}: '{field}' is {value!r:.40}, but must be text or a number")
    return str(value).strip()


def read_saved(root: Path) -> Release:
    """Read what ``save_to_disk`` wrote, as `read_hugging_face` says."""
    datasets = _import("datasets")
    try:
        _check_files(root)
        loaded = datasets.load_from_disk(str(root))
    # A library that reads a stranger's files: it raises whatever these make it stumble over.
    except Exception as error:
        raise ValueError(
            f"{root}: not readable as a saved dataset ({one_line(error)}); write it again with "
            "save_to_disk"
        ) from error
    return _release_of(loaded, str(root), ClassNames.beside(root, "label"))


def read_hub(name: str) -> Release:
    """Download a dataset of the Hugging Face hub, or take it from the cache of ``datasets``.

    Args:
        name: its id, ``owner/name``. No code of it is run.

    Raises:
        ValueError: there is no such dataset, or it cannot be had or read.
        ImportError: the extra `hf` is not installed.
    """
    datasets, hub = _import("datasets"), _import("huggingface_hub")
    try:
        if not hub.constants.HF_HUB_OFFLINE:
            # Asked first, because without a connection load_dataset tries for half a minute.
            hub.HfApi().dataset_info(name, timeout=_SECONDS)
        loaded = datasets.load_dataset(name)
    except Exception as error:  # of the network, the hub, the cache or the files
        raise ValueError(
            f"hf:{name}: there is no such folder, and it cannot be had as a dataset of the Hugging "
            f"Face hub ({shortened(one_line(error), 300)}); give the folder of a downloaded "
            "dataset, try again with a connection, or set HF_HUB_OFFLINE=1 if it was downloaded"
        ) from error
    return _release_of(loaded, f"hf:{name}", ClassNames.none("label"))


def _check_files(root: Path) -> None:
    """Refuse JSON that is damaged, and names that point out of the folder."""
    folders = [root]
    if (root / "dataset_dict.json").is_file():
        folders = [root / str(name) for name in read_json(root / "dataset_dict.json")["splits"]]
    for folder in folders:
        if folder != root and folder.parent != root:
            raise ValueError(f"the split '{folder.name}' lies elsewhere")
        read_json(folder / "dataset_info.json")
        for entry in read_json(folder / "state.json")["_data_files"]:
            file = folder / str(entry["filename"])
            if file.parent != folder or not file.is_file():
                raise ValueError(f"the data file '{entry['filename']}' is no file beside its list")


def _release_of(loaded: Any, place: str, names: ClassNames) -> Release:
    """Return the images of a ``Dataset`` or ``DatasetDict``; ``place`` is for messages."""
    root = Path(place)
    datasets = _import("datasets")
    if isinstance(loaded, datasets.Dataset):
        parts = [_open_part(loaded, "test", "", place)]
        reason = f"{place} is a single dataset, whose images are the test split"
    else:
        check_one_each(root, loaded)
        parts = [
            _open_part(part, name, f"{name}/", f"{place}, {name}") for name, part in loaded.items()
        ]
        reason = f"{place} has only {', '.join(loaded)} with labels"
    places = [(part, number) for part in parts for number in range(len(part.ids))]
    ids = [part.ids[number] for part, number in places]
    texts = {
        field: [part.texts[field][number] if field in part.texts else "" for part, number in places]
        for field in dict.fromkeys(field for part in parts for field in part.texts)
    }
    label_set, labels = names.label(
        texts.get("label", ()),
        lambda index: f"{place}, {ids[index]}",
        root,
        [name for part in parts for name in part.classes],
    )

    def stamp(index: int) -> str:
        part, number = places[index]
        return str(part.sizes[number])

    def read(index: int) -> NDArray[np.uint8]:
        part, number = places[index]
        return part.read(number, f"{place}, {ids[index]}")

    return Release(
        name="hf",
        label_set=label_set,
        ids=ids,
        splits=np.array([part.split for part, _ in places], dtype=np.int8),
        labels=labels,
        reader=read,
        stamp=stamp,
        subjects=known_subjects(texts.get("subject", []), ids),
        attributes={
            field.removeprefix(ATTRIBUTE): values
            for field, values in texts.items()
            if field.startswith(ATTRIBUTE)
        },
        absent=dict.fromkeys(SPLITS, reason),
    )


@dataclass(frozen=True)
class _Part:
    """One split of a saved dataset of N images.

    Attributes:
        split: position in `SPLITS`.
        ids: N names.
        texts: by field, N texts; the label's field is called ``label``.
        classes: the names of its ClassLabel, if it has one.
        images: its rows, of which only the images, not decoded.
        column: what the images' column is called.
        sizes: N numbers of bytes, None where a row holds a path in place of an image, as
            early versions of ``datasets`` wrote them.
    """

    split: int
    ids: Sequence[str]
    texts: Mapping[str, Sequence[str]]
    classes: Sequence[str]
    images: Any
    column: str
    sizes: Sequence[int | None]

    def read(self, number: int, name: str) -> NDArray[np.uint8]:
        cell = self.images[number][self.column] or {"bytes": b"", "path": None}
        if cell["bytes"] is None and cell["path"]:
            return read_image(Path(cell["path"]))
        return decode_image(cell["bytes"] or b"", name)


def _open_part(rows: Any, name: str, prefix: str, place: str) -> _Part:
    datasets, compute = _import("datasets"), _import("pyarrow.compute")
    image_columns = [
        column for column, feature in rows.features.items() if isinstance(feature, datasets.Image)
    ]
    if len(image_columns) != 1:
        raise ValueError(
            f"{place}: {len(image_columns)} columns of type Image among "
            f"{', '.join(rows.column_names)}; there must be one (cast_column makes one of paths)"
        )
    label = label_field(rows.column_names, place)
    texts = {
        "label" if field == label else field: [
            text_of(value, field, f"{place}, row {number}")
            for number, value in enumerate(rows[field][:])
        ]
        for field in rows.column_names
        if is_read(field)
    }
    classes: Sequence[str] = []
    if isinstance(rows.features[label], datasets.ClassLabel):
        classes = rows.features[label].names
        # The code -1 is how ``datasets`` marks a row without a label.
        name_of = {"": "", "-1": "", **{str(code): name for code, name in enumerate(classes)}}
        if stray := set(texts["label"]) - set(name_of):
            raise ValueError(
                f"{place}: '{label}' is {min(stray)}, but has {len(classes)} names, from 0"
            )
        texts["label"] = [name_of[code] for code in texts["label"]]
    column = image_columns[0]
    images = rows.select_columns([column]).cast_column(column, datasets.Image(decode=False))
    content = images.with_format("arrow")[:].column(column)
    return _Part(
        split=split_named(name, place),
        ids=[f"{prefix}row{number:06d}" for number in range(len(rows))],
        texts=texts,
        classes=classes,
        images=images,
        column=column,
        sizes=compute.binary_length(compute.struct_field(content, "bytes")).to_pylist(),
    )


def _import(name: str) -> Any:
    with importing("hf", "reading what save_to_disk wrote, or a dataset of the hub,"):
        return importlib.import_module(name)
