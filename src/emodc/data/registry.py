"""The data sets by name: what ``NAME:ARGUMENT`` opens.

A loader lives in a file of its own. To add one, write that file and enter it in the table
below: what its argument is, and a function of (argument, split).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from emodc.data.base import SPLITS, FaceData
from emodc.data.fer2013 import open_fer2013
from emodc.data.fer2013plus import open_fer2013plus
from emodc.data.folder import open_folder
from emodc.data.synthetic import open_synthetic
from emodc.labels import BASIC7, BASIC8


@dataclass(frozen=True)
class _Entry:
    """A registered data set: how its argument is written, and what opens it."""

    argument: str
    open: Callable[[str, str], FaceData]


def data_set_names() -> tuple[str, ...]:
    """Return the names that `open_data` knows, in alphabetical order."""
    return tuple(sorted(_REGISTRY))


def open_data(spec: str, split: str) -> FaceData:
    """Open one split of a data set; annotations are read, images only on demand.

    Args:
        spec: ``NAME:PATH``, such as ``fer2013plus:/data/fer2013`` or ``folder:photos``, with
            a name from `data_set_names`; or ``synthetic``, optionally with options, such as
            ``synthetic:count=70,seed=1,size=112,colour=true``.
        split: ``train``, ``validation`` or ``test``.

    Returns:
        The split. How each data set is read and what its notes mean is said in its module.

    Raises:
        ValueError: the name or the split is unknown, or there is no such data set at the
            path; the message lists what is accepted.
    """
    name, _, argument = spec.partition(":")
    entry = _REGISTRY.get(name)
    if entry is None:
        raise ValueError(f"unknown data set '{name}': {_accepted()}")
    if split not in SPLITS:
        raise ValueError(f"unknown split '{split}': {', '.join(SPLITS)}")
    return entry.open(argument, split)


def _accepted() -> str:
    return "accepted are " + ", ".join(
        f"{name}{_REGISTRY[name].argument}" for name in data_set_names()
    )


def _at_path(name: str, open_path: Callable[[Path, str], FaceData]) -> _Entry:
    def open_argument(argument: str, split: str) -> FaceData:
        if not argument:
            raise ValueError(f"data set '{name}' needs a folder: {name}:PATH")
        return open_path(Path(argument).expanduser(), split)

    return _Entry(":PATH", open_argument)


def _open_synthetic(argument: str, split: str) -> FaceData:
    options: dict[str, int] = {}
    colour = False
    for part in filter(None, argument.split(",")):
        key, _, value = part.partition("=")
        if key in ("count", "seed", "size") and value.isascii() and value.isdigit():
            options[key] = int(value)
        elif key == "colour" and value in ("true", "false"):
            colour = value == "true"
        else:
            raise ValueError(
                f"synthetic: '{part}' is no option; accepted are count=N, seed=N, size=N "
                "and colour=true or false"
            )
    return open_synthetic(split, colour=colour, **options)


_REGISTRY: Mapping[str, _Entry] = {
    "fer2013": _at_path("fer2013", open_fer2013),
    "fer2013plus": _at_path(
        "fer2013plus", partial(open_fer2013plus, name="fer2013plus", label_set=BASIC7)
    ),
    "fer2013plus8": _at_path(
        "fer2013plus8", partial(open_fer2013plus, name="fer2013plus8", label_set=BASIC8)
    ),
    "folder": _at_path("folder", open_folder),
    "synthetic": _Entry("[:count=N,seed=N,size=N,colour=true]", _open_synthetic),
}
