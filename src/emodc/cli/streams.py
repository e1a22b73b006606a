"""Standard output and error as shells hand them over: closed, full, or a pipe that nobody reads."""

import errno
import io
import os
import sys
import warnings

from emodc.cli.console import print_error
from emodc.support.files import one_line

_OUTPUT = "standard output"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Closed(io.TextIOBase):
    """Stands for a standard output that was closed: a command that prints nothing never notices."""

    encoding = "utf-8"

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if not text:
            return 0
        raise OSError(errno.EBADF, "closed, but this command prints; redirect it", _OUTPUT)


def open_streams() -> None:
    """Make the standard streams usable, whichever of them are closed (``>&-``)."""
    for number in range(3):  # or a file opened later would take the place of one
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stdout is None:
        sys.stdout = _Closed()
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 (open until the process ends)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # File names may hold what the terminal's encoding cannot show.
            stream.reconfigure(errors="backslashreplace")
    warnings.showwarning = _show_warning  # type: ignore[assignment]


def close_output(code: int) -> int:
    """Write what standard output still holds.

    Args:
        code: the exit code so far.

    Returns:
        The exit code: another one if it was 0 and not everything could be written.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python will try again
        if code:
            return code
        if isinstance(error, BrokenPipeError):  # who read it has seen enough
            return 1
        print_os_error(error)
        return 2
    return code


def print_os_error(error: OSError) -> None:
    """Print an error of the operating system, with the file's name, as one line on stderr."""
    file = error.filename
    if file is None and error.errno in _FULL:  # files are named: `emodc.support.files.explained`
        file = _OUTPUT
    named = file is not None and error.strerror is not None
    print_error(f"{file}: {error.strerror}" if named else str(error))


def _show_warning(message: Warning | str, *_: object) -> None:
    """Print a library's warning as one line, without the line of its code."""
    print(f"emodc: warning: {one_line(str(message))}", file=sys.stderr)
