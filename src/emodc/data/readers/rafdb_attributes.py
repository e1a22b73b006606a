"""Gender, race and age in RAF-DB, one file an image: five landmarks, then a code a line."""

from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path

from emodc.data.face_data import OnDemand
from emodc.support.parsing import read_text

ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "gender": ("male", "female", "unsure"),
    "race": ("Caucasian", "African-American", "Asian"),
    "age": ("0-3", "4-19", "20-39", "40-69", "70+"),
}
"""The value of each code 0, 1, ... in lines 6, 7 and 8 of an attribute file."""


def read_attributes(folder: Path, stems: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Return the values of each of `ATTRIBUTES`, read when they are asked for.

    Args:
        folder: of a part of RAF-DB; without ``Annotation/manual`` there are no attributes.
        stems: of the names of the images, such as ``train_00001``.
    """
    source = folder / "Annotation" / "manual"
    if not source.is_dir():
        return {}

    @cache  # the attributes share the files
    def read(index: int) -> Mapping[str, str]:
        return _read_file(source / f"{stems[index]}_manu_attri.txt")

    def value(name: str, index: int) -> str:
        return read(index)[name]

    return {name: OnDemand(len(stems), partial(value, name)) for name in ATTRIBUTES}


def _read_file(file: Path) -> Mapping[str, str]:
    """Return a value for each of `ATTRIBUTES`, ``""`` where there is no such file."""
    if not file.exists():
        return dict.fromkeys(ATTRIBUTES, "")
    lines = read_text(file).splitlines()
    found: dict[str, str] = {}
    for number, (name, values) in enumerate(ATTRIBUTES.items(), start=6):  # below the landmarks
        code = lines[number - 1].strip() if number <= len(lines) else ""
        if code not in [str(known) for known in range(len(values))]:
            accepted = ", ".join(f"{known} {value}" for known, value in enumerate(values))
            raise ValueError(
                f"{file}, line {number}: '{code}' is no code of {name}; accepted are {accepted}; "
                "restore the released file"
            )
        found[name] = values[int(code)]
    return found
