"""Which folder the user meant, where the one given is not it."""

from collections.abc import Callable
from pathlib import Path


def advice(given: Path, fits: Callable[[Path], bool], *, above: int = 1) -> str:
    """Return "; give FOLDER" if a folder around the given one or one inside it is right.

    Folders beside it are not looked at: what fits there is another dataset.

    Args:
        given: what the user gave; it need not exist.
        fits: tells the right folder. It is asked about folders only.
        above: how many of the folders around it may be meant.

    Returns:
        The end of an error message, empty if none of them is right.
    """
    try:
        inside = sorted(path for path in given.iterdir() if path.is_dir())
    except OSError:
        inside = []
    for folder in (*given.absolute().parents[:above], *inside):
        try:
            if fits(folder):
                return f"; give {folder}"
        except ValueError:  # it cannot be listed, or holds two folders for one split
            continue
    return ""
