import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from emodc.support.distributed import World
from emodc.support.locks import HOLDER, FolderInUse, holding
from tests.support.test_distributed import in_processes

_HOLD = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from emodc.support.locks import holding

    with holding(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read()
    """
)


def other_process(folder: Path) -> subprocess.Popen[str]:
    other = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    return other


def test_the_second_is_told_who_holds_the_folder_until_that_one_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "a"
    other = other_process(folder)
    try:
        with pytest.raises(FolderInUse, match=f"in use by process {other.pid} on .* since 20"):
            holding(folder).__enter__()
    finally:
        other.kill()
        other.communicate()
    assert (folder / HOLDER).exists()  # a killed process tidies up nothing
    with holding(folder):
        assert json.loads((folder / HOLDER).read_text())["process"] == os.getpid()
    assert not (folder / HOLDER).exists()


def test_a_failure_frees_the_folder_and_leaves_no_empty_one(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), holding(folder):
            raise ZeroDivisionError
        assert not folder.exists()
    with holding(folder):
        (folder / "kept").touch()
    assert (folder / "kept").exists()


def test_a_holder_that_says_nonsense_is_another_process(tmp_path: Path) -> None:
    with holding(tmp_path):
        for nonsense in ("", "[" * 50_000, '{"process": 1}', '"\\u001b"'):
            (tmp_path / HOLDER).write_text(nonsense)
            with pytest.raises(FolderInUse, match="in use by another process; wait"):
                holding(tmp_path).__enter__()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file/run") as failed:
        holding(tmp_path / "file" / "run").__enter__()
    assert failed.value.filename == str(tmp_path / "file" / "run")


def test_processes_of_one_task_share_a_folder_and_learn_together_that_it_is_taken(
    tmp_path: Path,
) -> None:
    def enter(world: World) -> str:
        with holding(tmp_path, world):
            world.wait()
            return "held"

    assert in_processes(enter) == ["held", "held"]
    with holding(tmp_path):
        told = in_processes(enter)
    assert all(line.startswith(f"FolderInUse: {tmp_path}: in use by process") for line in told)


def test_nothing_written_nothing_held() -> None:
    with holding(None):
        pass
