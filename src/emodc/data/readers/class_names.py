"""Classes as users write them in datasets of their own.

A class is written in any spelling of the vocabulary ("happy"). Where no name at all is one of the
vocabulary's, and each has a letter, the names are classes of the user's own ("calm", "bored") and
stand for themselves; where some are, another one is taken for a mistake.

A file ``classes.json`` beside the data, an object of what is written to class name, goes before
both rules: ``{"1": "surprise", "2": "fear"}``. Numbers need one. It declares the whole label set,
and its class names may be new ones.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emodc.faces.listing import natural_key
from emodc.labels import ALIASES, BASIC8, COMPOUND11, LabelSet, canonical_name, label_set_of
from emodc.support.parsing import read_json

MAP_FILE = "classes.json"

_LETTER = re.compile(r"[^\W\d_]")
_KNOWN = (*BASIC8.classes, *COMPOUND11.classes)


@dataclass(frozen=True)
class ClassNames:
    """What is written in one dataset and the classes it stands for.

    Attributes:
        file: the class map, whether it exists or not.
        written_as: what error messages call a name that is written: ``folder``, ``label``.
        declared: the content of the class map, in natural order of what is written; None
            where there is no such file.
    """

    file: Path
    written_as: str
    declared: Mapping[str, str] | None

    @classmethod
    def beside(cls, folder: Path, written_as: str) -> "ClassNames":
        """Return the names of the data in this folder.

        Raises:
            ValueError: the class map is not readable or no object of names.
        """
        file = folder / MAP_FILE
        return cls(file, written_as, _read_map(file) if file.exists() else None)

    @classmethod
    def none(cls, written_as: str) -> "ClassNames":
        """Return the names of data that lie in no folder, beside which no class map can lie."""
        return cls(Path(MAP_FILE), written_as, None)

    def meanings(self, places: Mapping[str, str | Path]) -> dict[str, str]:
        """Return the class that each name stands for.

        Args:
            places: the names that are written, each with a place where it stands, for error
                messages.

        Raises:
            ValueError: one stands for none; the message lists what is accepted.
        """
        if self.declared is None and places:
            own = {name: canonical_name(name) for name in places}
            if not any(found in _KNOWN for found in own.values()) and all(map(_LETTER.search, own)):
                return own
        return {name: self.resolve(name, place) for name, place in places.items()}

    def resolve(self, written: str, place: str | Path) -> str:
        """Return the class that a name stands for.

        Args:
            written: the name.
            place: where it stands, for error messages.

        Raises:
            ValueError: it stands for none; the message lists what is accepted.
        """
        if self.declared is not None:
            if written not in self.declared:
                raise ValueError(
                    f"{place}: {self.file} has no class for the {self.written_as} '{written}'"
                )
            return self.declared[written]
        name = canonical_name(written)
        if name not in _KNOWN:
            raise ValueError(
                f"{place}: '{written}' is no class; accepted are "
                f"{', '.join([*BASIC8.classes, *ALIASES])} and the compound expressions "
                f"('{COMPOUND11.classes[0]}', ...); for other names write {self.file}, such as "
                '{"1": "surprise", "2": "fear"}'
            )
        return name

    def label_set(self, used: Iterable[str], source: Path) -> LabelSet:
        """Return the ordered label set: known classes in the vocabulary's order, then new ones.

        Args:
            used: the classes in use, as `resolve` gives them. Those that the class map declares
                belong to the set in any case; new ones stand in the map's order.
            source: where they are used, for error messages.

        Raises:
            ValueError: there are fewer than two classes.
        """
        present = dict.fromkeys(used if self.declared is None else self.declared.values())
        known = [name for name in _KNOWN if name in present]
        names = [*known, *(name for name in present if name not in known)]
        if len(names) < 2:
            raise ValueError(
                f"{source}: {len(names)} classes, but telling classes apart takes at least two; "
                f"{self.file} can declare classes without images"
            )
        return label_set_of(names)

    def label(
        self,
        written: Sequence[str],
        place: Callable[[int], str],
        source: Path,
        declared: Iterable[str] = (),
    ) -> tuple[LabelSet, NDArray[np.int64]]:
        """Turn what is written about N images into labels.

        Args:
            written: N names; an empty one is no label.
            place: says where name i stands, for error messages.
            source: what holds them all, for error messages.
            declared: more names that belong to the label set, with images or without.

        Returns:
            The label set and (N,) int64 class indices, -1 where there is no label.

        Raises:
            ValueError: a name stands for no class, or there are fewer than two classes.
        """
        places: dict[str, str | Path] = dict.fromkeys(declared, source)
        for index, name in enumerate(written):
            if name and name not in places:
                places[name] = place(index)
        class_of = self.meanings(places)
        label_set = self.label_set(class_of.values(), source)
        code_of = {name: label_set.index(found) for name, found in class_of.items()}
        return label_set, np.array([code_of.get(name, -1) for name in written], dtype=np.int64)


def known_subjects(written: Sequence[str], ids: Sequence[str]) -> list[str] | None:
    """Return who is seen in each image, for `Release.subjects`.

    Args:
        written: N names; an empty one is not known, and its image counts as a person of its
            own.
        ids: N names of the images.

    Returns:
        N names, or None where nobody is known.
    """
    if not any(written):
        return None
    return [subject or name for subject, name in zip(written, ids, strict=True)]


def _read_map(file: Path) -> dict[str, str]:
    content = read_json(file)
    names = content.values() if isinstance(content, dict) else [None]
    if not all(isinstance(name, str) and canonical_name(name) for name in names):
        raise ValueError(
            f"{file}: expected an object of what is written to class name, such as "
            '{"1": "surprise"}'
        )
    return {key: canonical_name(content[key]) for key in sorted(content, key=natural_key)}
