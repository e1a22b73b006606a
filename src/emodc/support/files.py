"""Writing files so that a reader finds them whole or not at all."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from emodc.support.text import printable

PART = ".part"
"""What the name of an unfinished file ends with."""


@contextmanager
def whole_file(path: Path, *, shared: bool = False) -> Iterator[BinaryIO]:
    """Open a file that appears under its name when the block ends, and not if it fails.

    Args:
        path: what is written or replaced.
        shared: processes that know nothing of each other may write it at once. Each then has an
            unfinished file of its own, which a killed process leaves behind; otherwise the next
            writer replaces it.

    Yields:
        The unfinished file, beside ``path``.

    Raises:
        OSError: it cannot be written; the message names it. A file already there is kept.
    """
    own = f".{secrets.token_hex(4)}" if shared else ""
    part = path.with_name(f"{path.name}{own}{PART}")
    try:
        with explained(path):
            with part.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())  # a crash must not leave the name on empty blocks
            part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file as `whole_file` does.

    Raises:
        OSError: as for `whole_file`.
    """
    with whole_file(path) as file:
        file.write(content)


def one_line(error: Exception | str) -> str:
    """Return what an error says, as one line that can be printed; its kind if it says nothing."""
    return printable(" ".join(str(error).split())) or type(error).__name__


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Make an OSError name the file, and tell what to do where it cannot be written."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(error.errno, f"{reason}{_advice(error.errno)}", str(path)) from error


def _advice(code: int | None) -> str:
    """Return what to do about an error, as the end of its message; "" if nobody knows."""
    if code in (errno.ENOSPC, errno.EDQUOT):
        return "; free some space and run this again: what is finished is kept"
    if code in (errno.EROFS, errno.EACCES, errno.EPERM):
        return "; make its folder writable, or choose another one"
    return ""
