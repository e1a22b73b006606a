"""Commands as shells run them: streams that are closed or full, pipes that nobody reads."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

CLOSED = "emodc: error: standard output: closed, but this command prints; redirect it\n"
FULL = "emodc: error: standard output: No space left on device\n"


def shell(command: str) -> subprocess.CompletedProcess[str]:
    """Run a line of a POSIX shell, in which ``emodc`` is this one."""
    program = f"{shlex.quote(sys.executable)} -m emodc"
    line = f'emodc() {{ {program} "$@"; }}\n{command}'
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)


@pytest.mark.skipif(sys.platform == "win32", reason="the shell is a POSIX one")
@pytest.mark.parametrize(
    ("command", "code", "told"),
    [
        ("emodc recipes >&-", 2, CLOSED),
        ("emodc --help >&-", 2, CLOSED),
        ("emodc recipes <&- >&-", 2, CLOSED),
        ("emodc recipes >&- 2>&-", 2, ""),
        ("emodc recipes >/dev/null 2>&-", 0, ""),
        ("emodc nonsense 2>&-", 2, ""),
        ("emodc recipes | head -n 1 >/dev/null", 0, ""),
    ],
)
def test_closed_streams(command: str, code: int, told: str) -> None:
    ended = shell(command)
    assert (ended.returncode, ended.stdout, ended.stderr) == (code, "", told)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("arguments", ["recipes", "--help", "data list --json"])
def test_a_full_disk_behind_standard_output(arguments: str) -> None:
    ended = shell(f"emodc {arguments} >/dev/full")
    assert (ended.returncode, ended.stderr) == (2, FULL)


@pytest.mark.skipif(sys.platform == "win32", reason="the shell is a POSIX one")
def test_a_command_that_prints_nothing_needs_no_standard_output(tmp_path: Path) -> None:
    prepare = "emodc data prepare synthetic:count=7,size=32 --size 16 --no-detect --output"
    ended = shell(f"{prepare} {shlex.quote(str(tmp_path / 'out'))} >&-")
    assert (ended.returncode, ended.stdout) == (0, "")
    assert (tmp_path / "out" / "data.csv").read_text().startswith("path,label,split\n")


def test_warnings_of_libraries_are_one_line() -> None:
    script = (
        "import warnings; from emodc.cli.streams import open_streams; open_streams(); "
        r"warnings.warn('two\nlines \x1b[2J', stacklevel=1)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert ended.stderr == "emodc: warning: two lines \\x1b[2J\n"
