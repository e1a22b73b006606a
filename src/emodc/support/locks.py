"""One process at a time in a folder; whoever comes second is told who holds it."""

import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from emodc.support.distributed import ALONE, World
from emodc.support.files import explained, write_atomically
from emodc.support.text import printable, shortened

LOCK, HOLDER = ".emodc.lock", ".emodc.lock.json"
"""What is locked in a folder, and what says who holds it."""

_ABOUT_TO_SAY = 1.0  # seconds in which a process that has just locked a folder says so


class FolderInUse(ValueError):
    """Another process works in the folder."""


@contextmanager
def holding(folder: Path | None, world: World = ALONE) -> Iterator[None]:
    """Keep other processes out of a folder while the block runs.

    The operating system holds the lock: however the process ends, the folder is free again.

    Args:
        folder: created if missing; None: nothing is written, so nothing is held.
        world: the processes that work in it together; the main one holds it for all.

    Raises:
        FolderInUse: another process holds it; the message says which.
        OSError: the folder cannot be written.
    """
    if folder is None:
        yield
        return
    lock = FileLock(folder / LOCK)
    refusal = world.from_main(lambda: _acquire(lock, folder))
    if isinstance(refusal, OSError):
        raise refusal
    if refusal is not None:
        raise FolderInUse(refusal)
    try:
        yield
    finally:
        if world.is_main:
            (folder / HOLDER).unlink(missing_ok=True)
            _leave(lock, folder)


def _acquire(lock: FileLock, folder: Path) -> str | OSError | None:
    """Return None, or why the folder cannot be had; not raised, as all processes must know."""
    try:
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            if _is_free(lock):
                write_atomically(folder / HOLDER, json.dumps(_myself()).encode())
    except OSError as error:
        lock.release()
        return error
    if lock.is_locked:
        return None
    return (
        f"{printable(str(folder))}: in use by {_holder(folder)}; wait for it to end, or choose "
        "another folder"
    )


def _leave(lock: FileLock, folder: Path) -> None:
    """Give a folder back; one in which nothing was written is not left behind."""
    with suppress(OSError):  # it may be gone, or on a disk that cannot be written any more
        if [path.name for path in folder.iterdir()] == [LOCK]:
            (folder / LOCK).unlink()
            folder.rmdir()
    lock.release()


def _is_free(lock: FileLock) -> bool:
    """Take a lock if it is free, and tell whether it was."""
    with suppress(Timeout):
        lock.acquire(blocking=False)
    return lock.is_locked


def _myself() -> dict[str, str | int]:
    return {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "since": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _holder(folder: Path) -> str:
    """Return who holds a folder, as far as that is known."""
    patience = time.monotonic() + _ABOUT_TO_SAY
    while not (folder / HOLDER).exists() and time.monotonic() < patience:
        time.sleep(0.02)
    with suppress(OSError, ValueError, RecursionError, KeyError, TypeError):
        told = json.loads((folder / HOLDER).read_bytes()[:100_000])
        return "process {process} on {host} ({command}), since {since}".format(
            **{key: printable(shortened(str(told[key]), 200)) for key in _myself()}
        )
    return "another process"
