"""The datasets by name: what ``NAME:ARGUMENT`` opens.

A loader lives in a file of its own: a function from a folder to a `Release`. To add one, write
that file and enter it in the table below.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from emodc.data.face_data import SPLITS, FaceData
from emodc.data.readers.affectnet import read_affectnet
from emodc.data.readers.ckplus import read_ckplus
from emodc.data.readers.csv_list import read_csv_list
from emodc.data.readers.fer2013 import read_fer2013
from emodc.data.readers.fer2013plus import read_fer2013plus
from emodc.data.readers.folder import read_folder
from emodc.data.readers.hugging_face import read_hugging_face
from emodc.data.readers.rafdb import read_rafdb, read_rafdb_compound
from emodc.data.readers.sfew import read_sfew
from emodc.data.release import Release
from emodc.data.synthetic.dataset import read_synthetic
from emodc.data.variants import TEST_MARKS, TestMarks, with_few_labels, with_shortcut
from emodc.labels import BASIC7, BASIC8, COMPOUND11, LabelSet
from emodc.support.files import one_line
from emodc.support.parsing import bounded_int
from emodc.support.text import printable, shortened


@dataclass(frozen=True)
class DataSetEntry:
    """A registered dataset.

    Attributes:
        argument: how its argument is written, such as ``:PATH``; in brackets if it can be left out.
        summary: one line: what it holds and what the path must be.
        label_set: its classes; None where what lies at the path decides.
        read: turns the argument into the whole dataset.
    """

    argument: str
    summary: str
    label_set: LabelSet | None
    read: Callable[[str], Release]

    def open(self, argument: str) -> Release:
        """Read the whole dataset.

        Raises:
            ValueError: there is none, or it is malformed; one line that can be printed.
        """
        try:
            return self.read(argument)
        except ValueError as error:
            raise ValueError(shortened(printable(str(error)))) from error
        except (OSError, RuntimeError) as error:  # RuntimeError: ~ names no user
            reason = getattr(error, "strerror", None) or one_line(error)
            name = shortened(printable(argument), 300)
            raise ValueError(f"{name}: cannot be read ({reason})") from error


def dataset_names() -> tuple[str, ...]:
    """Return the names that `open_data` knows, in alphabetical order."""
    return tuple(sorted(REGISTRY))


def find_entry(spec: str) -> tuple[DataSetEntry, str]:
    """Return the dataset that ``NAME`` or ``NAME:ARGUMENT`` names, and the argument.

    Raises:
        ValueError: the name is unknown, or the argument it needs is not given.
    """
    name, _, argument = spec.partition(":")
    entry = REGISTRY.get(name)
    if entry is None:
        accepted = ", ".join(f"{known}{REGISTRY[known].argument}" for known in dataset_names())
        raise ValueError(f"unknown dataset '{name}': accepted are {accepted}")
    if not argument and not entry.argument.startswith("["):
        raise ValueError(f"dataset '{name}' needs a path: {name}{entry.argument}")
    return entry, argument


def open_release(spec: str) -> Release:
    """Open a dataset as a whole; annotations are read, images only on demand.

    Args:
        spec: ``NAME:PATH``, such as ``fer2013plus:/data/fer2013`` or ``folder:photos``, with
            a name from `dataset_names`; or ``synthetic``, optionally with options, such as
            ``synthetic:count=70,seed=1,size=112,color=true``.

    Raises:
        ValueError: the name is unknown, or there is no such dataset at the path; the message
            lists what is accepted.
    """
    entry, argument = find_entry(spec)
    return entry.open(argument)


def open_data(spec: str, split: str) -> FaceData:
    """Open one split of a dataset; annotations are read, images only on demand.

    Args:
        spec: as for `open_release`.
        split: ``train``, ``validation`` or ``test``.

    Returns:
        The split. How each dataset is read is said in its module.

    Raises:
        ValueError: the name or the split is unknown, or there is no such dataset at the
            path; the message lists what is accepted.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split '{split}': {', '.join(SPLITS)}")
    return open_release(spec).split(split)


def _at_path(
    summary: str, label_set: LabelSet | None, read: Callable[[Path], Release]
) -> DataSetEntry:
    return DataSetEntry(
        ":PATH", summary, label_set, lambda argument: read(Path(argument).expanduser())
    )


def _read_synthetic(argument: str) -> Release:
    options: dict[str, int] = {}
    color = False
    for part in filter(None, argument.split(",")):
        key, _, value = part.partition("=")
        if key in ("count", "seed", "size") and value.isascii() and value.isdigit():
            options[key] = bounded_int(value, 0, 2**64 - 1)
        elif key == "color" and value in ("true", "false"):
            color = value == "true"
        else:
            raise ValueError(
                f"synthetic: '{part}' is no option; accepted are count=N, seed=N, size=N "
                "and color=true or false"
            )
    return read_synthetic(color=color, **options)


def _read_shortcut(argument: str) -> Release:
    settings, _, spec = argument.partition(":")
    planted, _, test = settings.partition(",test=")
    kind, _, strength = planted.partition("=")
    if (test or "shuffled") not in TEST_MARKS:
        raise ValueError(f"shortcut: test is {', '.join(TEST_MARKS)}, not '{test}'")
    marks: TestMarks = next((mark for mark in TEST_MARKS if mark == test), "shuffled")
    return with_shortcut(open_release(spec), kind, _share(strength, "shortcut"), marks)


def _read_few(argument: str) -> Release:
    share, _, spec = argument.partition(":")
    return with_few_labels(open_release(spec), _share(share, "few"))


def _share(text: str, name: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name}: '{text}' is not a number") from None


REGISTRY: Mapping[str, DataSetEntry] = {
    "affectnet7": _at_path(
        "AffectNet, 7 classes: a folder with Manually_Annotated_Images and its lists, or with "
        "train_set and val_set",
        BASIC7,
        partial(read_affectnet, name="affectnet7", label_set=BASIC7),
    ),
    "affectnet8": _at_path(
        "AffectNet, 8 classes (with contempt): the same folder",
        BASIC8,
        partial(read_affectnet, name="affectnet8", label_set=BASIC8),
    ),
    "ckplus": _at_path(
        "CK+: a folder with cohn-kanade-images and Emotion, or the 48x48 folder copy",
        BASIC8,
        read_ckplus,
    ),
    "csv": _at_path(
        "your images, listed in a CSV file: path,label[,split,subject]", None, read_csv_list
    ),
    "few": DataSetEntry(
        ":SHARE:NAME:PATH",
        "another dataset with the labels of this share of its training images",
        None,
        _read_few,
    ),
    "fer2013": _at_path(
        "FER2013, original labels: a folder with fer2013.csv[.gz], or the folder copy",
        BASIC7,
        read_fer2013,
    ),
    "fer2013plus": _at_path(
        "FER+, 7 classes and votes: a folder with fer2013.csv[.gz] and fer2013new.csv",
        BASIC7,
        partial(read_fer2013plus, name="fer2013plus", label_set=BASIC7),
    ),
    "fer2013plus8": _at_path(
        "FER+, 8 classes (with contempt) and votes: the same folder",
        BASIC8,
        partial(read_fer2013plus, name="fer2013plus8", label_set=BASIC8),
    ),
    "folder": _at_path(
        "your images: one sub-folder a class, or train, validation and test with these inside",
        None,
        read_folder,
    ),
    "hf": _at_path(
        "a Hugging Face imagefolder with metadata, or what save_to_disk wrote",
        None,
        read_hugging_face,
    ),
    "rafdb": _at_path(
        "RAF-DB, basic expressions: a folder with basic/, or the copy with train/ and test/",
        BASIC7,
        read_rafdb,
    ),
    "rafdb-compound": _at_path(
        "RAF-DB, compound expressions: a folder with compound/", COMPOUND11, read_rafdb_compound
    ),
    "sfew": _at_path("SFEW 2.0, frames of films: a folder with Train/ and Val/", BASIC7, read_sfew),
    "shortcut": DataSetEntry(
        ":KIND=STRENGTH[,test=aligned|shuffled|reversed]:NAME:PATH",
        "another dataset with a planted mark (corner, brightness, jpeg, blur) that goes with the "
        "class",
        None,
        _read_shortcut,
    ),
    "synthetic": DataSetEntry(
        "[:count=N,seed=N,size=N,color=true]",
        "faces drawn by the project, for tests and first steps",
        BASIC7,
        _read_synthetic,
    ),
}
"""Every dataset by its name."""
