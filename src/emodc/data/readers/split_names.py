"""What people call the splits of a dataset: one table for every reader."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from emodc.data.face_data import SPLITS
from emodc.faces.listing import list_folders

SPLIT_KEYWORDS: Mapping[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
"""What a split may be called, in lower case."""


def split_named(name: str, place: str | Path) -> int:
    """Return the position in `SPLITS` of what a split is called.

    Raises:
        ValueError: it is none of `SPLIT_KEYWORDS`.
    """
    split = SPLIT_KEYWORDS.get(name.lower())
    if split is None:
        accepted = ", ".join(SPLIT_KEYWORDS)
        raise ValueError(f"{place}: unknown split '{name}'; accepted are {accepted}")
    return SPLITS.index(split)


def check_one_each(root: Path, names: Iterable[str]) -> None:
    """Raise ValueError if two of these names mean the same split."""
    seen: dict[int, str] = {}
    for name in names:
        other = seen.setdefault(split_named(name, root), name)
        if other != name:
            raise ValueError(f"{root}: '{other}' and '{name}' are one split; keep one of them")


def split_folders(root: Path) -> dict[str, Path]:
    """Return the folder of each split that is there, by the names of `SPLITS`.

    Args:
        root: the folder that holds them; a folder inside by another name is left out.

    Raises:
        ValueError: two of the folders are one split, or the folder cannot be listed.
    """
    found = [path for path in list_folders(root) if path.name.lower() in SPLIT_KEYWORDS]
    check_one_each(root, [path.name for path in found])
    return {SPLIT_KEYWORDS[path.name.lower()]: path for path in found}
