"""The data sets by name: what ``NAME:ARGUMENT`` opens.

A loader lives in a file of its own: a function from a folder to a `Release`. To add one, write
that file and enter it in the table below.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from emodc.data.base import SPLITS, FaceData
from emodc.data.fer2013 import read_fer2013
from emodc.data.fer2013plus import read_fer2013plus
from emodc.data.folder import read_folder
from emodc.data.release import Release
from emodc.data.synthetic import read_synthetic
from emodc.labels import BASIC7, BASIC8


@dataclass(frozen=True)
class DataSetEntry:
    """A registered data set.

    Attributes:
        argument: how its argument is written, such as ``:PATH``.
        summary: one line: what it holds and what the path must be.
        read: turns the argument into the whole data set.
    """

    argument: str
    summary: str
    read: Callable[[str], Release]


def data_set_names() -> tuple[str, ...]:
    """Return the names that `open_data` knows, in alphabetical order."""
    return tuple(sorted(REGISTRY))


def open_release(spec: str) -> Release:
    """Open a data set as a whole; annotations are read, images only on demand.

    Args:
        spec: ``NAME:PATH``, such as ``fer2013plus:/data/fer2013`` or ``folder:photos``, with
            a name from `data_set_names`; or ``synthetic``, optionally with options, such as
            ``synthetic:count=70,seed=1,size=112,colour=true``.

    Raises:
        ValueError: the name is unknown, or there is no such data set at the path; the message
            lists what is accepted.
    """
    name, _, argument = spec.partition(":")
    entry = REGISTRY.get(name)
    if entry is None:
        accepted = ", ".join(f"{known}{REGISTRY[known].argument}" for known in data_set_names())
        raise ValueError(f"unknown data set '{name}': accepted are {accepted}")
    return entry.read(argument)


def open_data(spec: str, split: str) -> FaceData:
    """Open one split of a data set; annotations are read, images only on demand.

    Args:
        spec: as for `open_release`.
        split: ``train``, ``validation`` or ``test``.

    Returns:
        The split. How each data set is read is said in its module.

    Raises:
        ValueError: the name or the split is unknown, or there is no such data set at the
            path; the message lists what is accepted.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split '{split}': {', '.join(SPLITS)}")
    return open_release(spec).split(split)


def _at_path(name: str, summary: str, read: Callable[[Path], Release]) -> DataSetEntry:
    def read_argument(argument: str) -> Release:
        if not argument:
            raise ValueError(f"data set '{name}' needs a folder: {name}:PATH")
        return read(Path(argument).expanduser())

    return DataSetEntry(":PATH", summary, read_argument)


def _read_synthetic(argument: str) -> Release:
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
    return read_synthetic(colour=colour, **options)


REGISTRY: Mapping[str, DataSetEntry] = {
    "fer2013": _at_path(
        "fer2013", "FER2013, original labels: a folder with fer2013.csv[.gz]", read_fer2013
    ),
    "fer2013plus": _at_path(
        "fer2013plus",
        "FER+, 7 classes and votes: a folder with fer2013.csv[.gz] and fer2013new.csv",
        partial(read_fer2013plus, name="fer2013plus", label_set=BASIC7),
    ),
    "fer2013plus8": _at_path(
        "fer2013plus8",
        "FER+, 8 classes (with contempt) and votes: the same folder",
        partial(read_fer2013plus, name="fer2013plus8", label_set=BASIC8),
    ),
    "folder": _at_path(
        "folder",
        "your pictures: one sub-folder a class, or train, validation and test with these inside",
        read_folder,
    ),
    "synthetic": DataSetEntry(
        "[:count=N,seed=N,size=N,colour=true]",
        "faces drawn by the project, for tests and first steps",
        _read_synthetic,
    ),
}
"""Every data set by its name."""
