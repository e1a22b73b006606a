import errno
import os
from pathlib import Path
from typing import BinaryIO

import pytest

from emodc.support.files import PART, explained, whole_file, write_atomically


@pytest.mark.parametrize("shared", [False, True])
def test_a_file_appears_when_it_is_whole(shared: bool, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with whole_file(path, shared=shared) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_is_broken_off_leaves_what_was_there(
    error: type[BaseException], tmp_path: Path
) -> None:
    path = tmp_path / "a"
    write_atomically(path, b"old")

    def stop(file: BinaryIO) -> None:
        file.write(b"ne")
        raise error

    with pytest.raises(error), whole_file(path) as file:
        stop(file)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.with_name(f"a{PART}").write_bytes(b"a long rest")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_writers_side_by_side_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with whole_file(path, shared=True) as one, whole_file(path, shared=True) as other:
        one.write(b"1" * 9)
        other.write(b"2" * 5)
    assert path.read_bytes() == b"1" * 9
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_line_with_advice_and_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "a"
    write_atomically(path, b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device; free some space and run") as caught:
        write_atomically(path, b"new")
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_names_the_file_that_was_meant(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "a"
    with pytest.raises(FileNotFoundError) as caught:
        write_atomically(path, b"")
    assert caught.value.filename == str(path)
    # NumPy reports a short write without a number.
    with pytest.raises(OSError, match="10 requested and 3 written"), explained(path):
        raise OSError("10 requested and 3 written")
