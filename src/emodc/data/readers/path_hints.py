"""Which folder the user meant, where the one given is not it."""

from collections.abc import Callable
from pathlib import Path


def advice(given: Path, fits: Callable[[Path], bool]) -> str:
    """Return "; give FOLDER" if the folder above the given one or one inside it is right.

    Args:
        given: what the user gave; it need not exist.
        fits: tells the right folder. It is asked about folders only.

    Returns:
        The end of an error message, empty if none of them is right.
    """
    try:
        inside = sorted(path for path in given.iterdir() if path.is_dir())
    except OSError:
        inside = []
    for folder in (given.absolute().parent, *inside):
        if fits(folder):
            return f"; give {folder}"
    return ""
