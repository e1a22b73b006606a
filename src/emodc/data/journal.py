"""A folder of files that takes many runs to write: what is finished, and of what it was made."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emodc.support.files import PART, explained, write_atomically
from emodc.support.locks import LOCK
from emodc.support.parsing import MAX_TEXT_BYTES, parse_json, read_bytes

_NAME = "journal.jsonl"


class Journal:
    """Writes the files of a folder and remembers which are finished.

    The first line of its file says what the folder is made of, each other one names a finished
    file and its SHA-256.

    Args:
        folder: created if missing.
        identity: what it is made of, ready for JSON.

    Raises:
        ValueError: the folder holds something else.
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self._folder, self._file = folder, folder / _NAME
        self._digests: dict[str, str] = {}
        folder.mkdir(parents=True, exist_ok=True)
        if not self._file.exists():
            own = (f"{_NAME}{PART}", LOCK)
            if not all(path.name.startswith(own) for path in folder.iterdir()):
                raise ValueError(f"{folder}: holds something else; choose another --output")
            write_atomically(self._file, (json.dumps(identity) + "\n").encode())
        content = read_bytes(self._file, MAX_TEXT_BYTES)
        lines = content.decode(errors="replace").splitlines()
        _check_identity(folder, lines[0] if lines else "{}", identity)
        for line in lines[1:]:
            name, _, digest = line.rpartition(" ")
            if len(digest) == 64:  # a killed process may have left half a line
                self._digests[name] = digest
        whole = "".join(f"{name} {digest}\n" for name, digest in self._digests.items())
        write_atomically(self._file, f"{lines[0]}\n{whole}".encode())

    def has(self, name: str) -> bool:
        """Tell whether this file is finished and still there as it was written."""
        known, path = self._digests.get(name), self._folder / name
        return known is not None and path.exists() and digest_of(path.read_bytes()) == known

    def add(self, name: str, content: bytes) -> None:
        """Write a file, at a path relative to the folder, and enter it."""
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
        self._digests[name] = digest_of(content)
        with explained(self._file), self._file.open("a", encoding="utf-8") as file:
            file.write(f"{name} {self._digests[name]}\n")

    def digest(self, name: str) -> str:
        """Return the SHA-256 of a finished file."""
        return self._digests[name]


def digest_of(content: bytes) -> str:
    """Return the SHA-256 in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def _check_identity(folder: Path, line: str, identity: Mapping[str, Any]) -> None:
    try:
        found = dict(parse_json(line, str(folder / _NAME)))
    except (ValueError, TypeError):
        found = {}
    for key, value in identity.items():
        if found.get(key) != value:
            told = "" if key == "rows" else f": {found.get(key)} instead of {value}"
            raise ValueError(
                f"{folder}: holds a preparation of other data or with other settings "
                f"({key}{told}); choose another --output"
            )
