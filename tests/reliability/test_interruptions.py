"""Kills at seeded moments, two writers in one folder, a full disk: nothing computed is lost."""

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from emodc.cli.app import app
from emodc.support.locks import holding
from tests.reliability.commands import (
    Ended,
    Moment,
    commands,
    content,
    end,
    random_moment,
    run,
    start,
)
from tests.reliability.test_inputs import SEED

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and counts as Linux does")

NAMES = ("train", "evaluate", "prepare", "robustness")
LENGTHS = [
    pytest.param(2, id="short"),
    pytest.param(10, id="long", marks=[pytest.mark.slow, pytest.mark.campaign]),
]


@dataclass(frozen=True)
class Whole:
    """A command that nothing interrupted.

    Attributes:
        arguments: its command line.
        ended: how it ended.
        content: what it left.
    """

    arguments: list[str]
    ended: Ended
    content: dict[str, bytes | str]


@pytest.fixture(scope="module", params=NAMES)
def whole(
    request: pytest.FixtureRequest, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Whole:
    folder = tmp_path_factory.mktemp("whole") / "out"
    arguments = list(commands(tiny_folder)[request.param])
    warm_up = CliRunner().invoke(app, [*arguments, "--output", str(folder.with_name("warm up"))])
    assert warm_up.exit_code == 0  # and the forks need not import and detect any more
    ended = run(arguments, folder)
    assert ended.code == 0, ended.text
    found = content(folder)
    assert found
    return Whole(arguments, ended, found)


def goes_on_as_if_nothing_had_been(whole: Whole, output: Path) -> None:
    ended = run(whole.arguments, output)
    assert ended.code == 0, ended.text
    assert "Traceback" not in ended.text
    found = content(output)
    assert found.keys() == whole.content.keys()
    assert [name for name in found if found[name] != whole.content[name]] == []


@pytest.mark.parametrize("trials", LENGTHS)
def test_a_killed_command_ends_like_one_that_was_not(
    whole: Whole, trials: int, tmp_path: Path
) -> None:
    ends: Counter[int] = Counter()
    for trial in range(trials):
        rng = np.random.default_rng([SEED, trial])
        output = tmp_path / str(trial)
        for _ in range(int(rng.integers(1, 3))):  # while it goes on, too
            ended = run(whole.arguments, output, random_moment(whole.ended, rng))
            assert ended.code <= 0, ended.text
            ends[ended.code] += 1
        goes_on_as_if_nothing_had_been(whole, output)
        shutil.rmtree(output)
    killed = sum(number for code, number in ends.items() if code < 0)
    print(f"{whole.arguments[0]}: {killed} kills in {trials} folders, nothing lost")
    assert killed >= trials


def test_a_folder_that_is_held_is_left_alone(whole: Whole, tmp_path: Path) -> None:
    with holding(tmp_path / "out"):
        before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
        ended = run(whole.arguments, tmp_path / "out")
        after = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert ended.code == 2
    assert before == after
    (line,) = [line for line in ended.text.splitlines() if "error: " in line]
    assert f"{tmp_path / 'out'}: in use by process {os.getpid()} on " in line
    assert "Traceback" not in ended.text


def test_of_two_at_once_one_is_refused_and_the_other_ends_as_alone(
    whole: Whole, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    both = [end(*begun) for begun in [start(whole.arguments, output) for _ in range(2)]]
    codes = sorted(ended.code for ended in both)
    # The second may come after the first has ended, and finds all done.
    assert codes in ([0, 2], [0, 0]), [ended.text for ended in both]
    for ended in both:
        assert ("in use by process" in ended.text) == (ended.code == 2)
        assert "Traceback" not in ended.text
    goes_on_as_if_nothing_had_been(whole, output)


@pytest.mark.parametrize("trials", LENGTHS)
def test_a_file_that_cannot_grow_is_one_line(whole: Whole, trials: int, tmp_path: Path) -> None:
    largest = max(len(held) for held in whole.content.values())
    stopped = 0
    for trial in range(trials):
        output = tmp_path / str(trial)
        size = int(np.random.default_rng([SEED, trial]).integers(1, largest))
        ended = run(whole.arguments, output, Moment(file_size=size))
        assert ended.code in (0, 1, 2)
        if ended.code:
            stopped += 1
            is_told_in_one_line(ended, output)
        goes_on_as_if_nothing_had_been(whole, output)
    print(f"{whole.arguments[0]}: {stopped} of {trials} stopped by the size of a file")


def is_told_in_one_line(ended: Ended, output: Path) -> None:
    assert ended.code == 2, ended.text
    assert "Traceback" not in ended.text
    (line,) = [line for line in ended.text.splitlines() if "error: " in line]
    assert str(output) in line


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[None]:
    """Mount a disk of this size within the block; skip the test where that is not allowed."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("trials", LENGTHS)
def test_a_full_disk_is_one_line_and_loses_nothing(
    whole: Whole, trials: int, tmp_path: Path
) -> None:
    taken = sum(4 + len(held) // 1024 for held in whole.content.values())
    stopped = 0
    for trial in range(trials):
        size = int(np.random.default_rng([SEED, trial]).integers(8, taken))
        disk = tmp_path / f"disk{trial}"
        with small_disk(disk, size):
            ended = run(whole.arguments, disk / "out")
            if ended.code:
                stopped += 1
                is_told_in_one_line(ended, disk)
                assert "No space left on device; free some space and run this again" in ended.text
            larger = ["mount", "-o", "remount,size=64m", str(disk)]
            subprocess.run(larger, check=True)
            goes_on_as_if_nothing_had_been(whole, disk / "out")
    print(f"{whole.arguments[0]}: {stopped} of {trials} stopped by a full disk")


def test_a_disk_that_may_only_be_read_is_named(whole: Whole, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, 65536):
        assert run(whole.arguments, disk / "out").code == 0
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        ended = run(whole.arguments, disk / "out")
        is_told_in_one_line(ended, disk)
        assert f"{disk / 'out'}: Read-only file system; " in ended.text
