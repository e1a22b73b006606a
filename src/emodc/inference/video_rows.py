"""A file of a video's rows that grows batch by batch, and from which an analysis goes on.

Its first line says what decides the rows. Each other line holds a batch of rows and the state after
it, so that a killed process loses at most the batch at work, and going on gives the very rows that
an uninterrupted run gives.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from emodc.inference.prediction import VideoPrediction
from emodc.support.files import explained, write_atomically
from emodc.support.parsing import numbered_lines, open_regular, parse_json

_LONGEST = 1 << 24  # bytes of a line


class VideoRows:
    """The rows of an analysis that may be interrupted.

    Args:
        path: of the file; made if there is none.
        identity: what decides the rows, by the name that an error message uses.

    Attributes:
        path: of the file.
        state: of the analysis after the last whole batch; None before the first one.

    Raises:
        ValueError: the file belongs to another analysis, or is damaged.
        OSError: it cannot be written.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path = path
        self.state: Mapping[str, Any] | None = None
        self._size = 0
        if not path.exists():
            write_atomically(path, (json.dumps(identity) + "\n").encode())
        for number, line in self._lines():
            if number == 1:
                self._check(line, identity)
            else:
                self.state = line["state"]
        with explained(path), path.open("r+b") as file:
            file.truncate(self._size)  # without the line that a killed process left unfinished

    def add(self, rows: Sequence[VideoPrediction], state: Mapping[str, Any]) -> None:
        """Append a batch and the state after it.

        Raises:
            OSError: the file cannot be written.
        """
        line = json.dumps({"rows": [row.to_dict() for row in rows], "state": state})
        with explained(self.path), self.path.open("ab") as file:
            file.write(f"{line}\n".encode())

    def __iter__(self) -> Iterator[VideoPrediction]:
        """Go through all rows."""
        for number, line in self._lines():
            if number > 1:
                yield from (VideoPrediction.from_dict(row) for row in line["rows"])

    def _lines(self) -> Iterator[tuple[int, Any]]:
        self._size = 0
        with open_regular(self.path) as file:
            for number, content in numbered_lines(file, _LONGEST):
                if not content.endswith(b"\n"):
                    return
                line = parse_json(content, str(self.path))
                if not isinstance(line, dict) or (
                    number > 1 and not {"rows", "state"} <= set(line)
                ):
                    raise ValueError(f"{self.path}: damaged in line {number}; delete it")
                yield number, line
                self._size += len(content)

    def _check(self, found: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
        differing = [name for name, value in identity.items() if found.get(name) != value]
        if differing:
            raise ValueError(
                f"{self.path}: begun with another {', another '.join(differing)}; delete it to "
                "begin anew, or name another output"
            )


@contextmanager
def video_rows(path: Path, identity: Mapping[str, Any]) -> Iterator[VideoRows]:
    """Keep the rows of an analysis in a file until the block ends.

    The file is deleted then, as it is of no more use; it stays if the block fails.

    Args:
        path: of the file.
        identity: see `VideoRows`.

    Raises:
        ValueError: as for `VideoRows`, or another process is at work on the file.
        OSError: as for `VideoRows`.
    """
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    with explained(path):
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise ValueError(
                f"{path}: another process is at it; wait for it to end, or name another output"
            ) from None
    try:
        yield VideoRows(path, identity)
        path.unlink()
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()
