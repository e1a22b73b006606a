"""A folder of pictures that is written over many runs: what is finished, and of what it was made.

The journal is a file of JSON lines. The first says what the folder is a preparation of; each of
the others is an entry: the picture's ``id``, the ``stamp`` of its source, and either the ``path`` of
the file written and its ``sha256`` or the kind of ``failure`` and its ``reason``.
"""

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

JOURNAL = "journal.jsonl"

Entry = Mapping[str, str]


class Journal:
    """The journal of a folder.

    Args:
        folder: created if missing.
        identity: what it is a preparation of, ready for JSON.

    Raises:
        ValueError: the folder holds something else.
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"{folder}: not a folder; choose another one to write to")
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._file = folder, folder / JOURNAL
        self._identity = json.loads(json.dumps(identity))
        self._entries = {entry["id"]: entry for entry in self._read()}
        # Without a line that a killed process left unfinished.
        self._write(list(self._entries.values()))

    def find(self, name: str, stamp: str, path: str) -> Entry | None:
        """Return what is known of a picture, None if it has to be done (again).

        Args:
            name: its id.
            stamp: of its source.
            path: of the file it is written to, relative to the folder. A file left elsewhere by an
                earlier run is removed.
        """
        entry = self._entries.get(name)
        if entry is None:
            return None
        if "path" not in entry:
            return entry if entry["stamp"] == stamp else None
        file = self._folder / entry["path"]
        if entry["path"] != path:
            file.unlink(missing_ok=True)
        elif entry["stamp"] == stamp and file.is_file() and _sha256(file) == entry["sha256"]:
            return entry
        return None

    def add(self, entry: Entry) -> None:
        """Enter a picture that is finished."""
        with naming(self._file), self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def close(self, entries: Sequence[Entry]) -> None:
        """Keep these entries, in this order, and remove the files of all others."""
        kept = {entry["id"] for entry in entries}
        for name, entry in self._entries.items():
            if name not in kept and "path" in entry:
                (self._folder / entry["path"]).unlink(missing_ok=True)
        self._write(entries)

    def _read(self) -> list[Entry]:
        if not self._file.exists():
            strangers = [path.name for path in self._folder.iterdir() if path.suffix != ".part"]
            if strangers:
                raise ValueError(
                    f"{self._folder}: holds other files ({strangers[0]}); choose an empty folder"
                )
            return []
        lines = [parsed for line in self._lines() if (parsed := _parse(line)) is not None]
        found = lines[0] if lines else {}
        for key, wanted in self._identity.items():
            if found.get(key) != wanted:
                told = f"{found.get(key)}, not {wanted}" if len(str(wanted)) < 200 else "others"
                raise ValueError(
                    f"{self._folder}: holds a preparation of other data or with other settings "
                    f"({key}: {told}); choose another folder"
                )
        return [line for line in lines[1:] if self._is_entry(line)]

    def _lines(self) -> list[str]:
        return self._file.read_text(encoding="utf-8", errors="replace").splitlines()

    def _is_entry(self, line: Mapping[str, Any]) -> bool:
        path = line.get("path", "")
        inside = not os.path.isabs(path) and ".." not in Path(path).parts
        return inside and {"id", "stamp"} < set(line)

    def _write(self, entries: Sequence[Entry]) -> None:
        text = "".join(json.dumps(line) + "\n" for line in (self._identity, *entries))
        write_whole(self._file, text.encode())


def write_whole(path: Path, content: bytes) -> str:
    """Write a file so that a killed process leaves it whole or not at all.

    Returns:
        The SHA-256 of the content.

    Raises:
        OSError: it cannot be written; the message names it.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with naming(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(content)
            part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    return hashlib.sha256(content).hexdigest()


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Make an OSError name the file, and say what to do about a full disk."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "; free some space and run this again: what is finished is kept" if full else ""
        raise OSError(error.errno, f"{error.strerror}{advice}", str(path)) from error


def _parse(line: str) -> dict[str, Any] | None:
    try:
        parsed = json.loads(line)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
