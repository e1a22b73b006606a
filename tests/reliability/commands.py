"""Commands in processes of their own, which end where they are told to.

They are forks of this process: what takes long to import is there already, so what is interrupted
is the work. A moment is the n-th time that a command opens, renames, removes or makes a file or a
folder in its output, and then the process is killed before it does so; or it is a time of the
processor, and then the process is ended wherever it happens to be. Neither depends on how busy the
machine is.
"""

import os
import re
import resource
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

_TOUCHED = "\0touched "
_TOUCHES = frozenset({"open", "os.rename", "os.remove", "os.mkdir"})
_SECONDS = re.compile(r".*(second|duration|took|/s\b|images/s).*", re.IGNORECASE)

SMALL = (
    *("model.codec.size=16", "model.backbone.widths=[8,8,8,8]", "model.backbone.embedding=16"),
    *("samples=48", "batch_size=8", "optimizer.warm_up=8"),
    "validation={every: 16, images: 14, steps: 2}",
)
"""Changes of the recipe ``synthetic-tiny`` that make it a matter of a second."""


def commands(model: Path) -> Mapping[str, Sequence[str]]:
    """Return what is interrupted, by name, without ``--output FOLDER``; a few seconds each."""
    data, device = "synthetic:count=21,size=16", ("--device", "cpu")
    named = ("--model", str(model), "--data", data, *device)
    changes = [word for change in SMALL for word in ("--set", change)]
    return {
        "train": ["train", "synthetic-tiny", "--data", data, *device, *changes],
        "evaluate": ["evaluate", *named, "--steps", "5"],
        "prepare": ["data", "prepare", "synthetic:count=14,size=32", "--size", "16", "--no-detect"],
        "robustness": [
            *("robustness", *named, "--steps", "1", "--severities", "5", "--limit", "7"),
            *("--suite", "noise-blur", "--no-figures"),
        ],
    }


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        code: its exit code; that of the signal, negative, if one ended it.
        text: what it printed, on both standard streams.
        touches: how often it touched a file or folder of its output; 0 if it was killed.
        seconds: of the processor that it took.
    """

    code: int
    text: str
    touches: int
    seconds: float


@dataclass(frozen=True)
class Moment:
    """When a process is ended, or what it lacks.

    Attributes:
        touch: killed before this touch, from 1; 0 is never.
        seconds: ended after this time of the processor; 0 is never.
        file_size: no file may grow larger than this, in bytes; 0 is any size.
    """

    touch: int = 0
    seconds: float = 0.0
    file_size: int = 0


NEVER = Moment()


def start(arguments: Sequence[str], output: Path, moment: Moment = NEVER) -> tuple[int, int]:
    """Start ``emodc ARGUMENTS --output OUTPUT``; return its process and what reads its messages."""
    reads, writes = os.pipe()
    process = os.fork()
    if not process:
        os.close(reads)
        _become([*arguments, "--output", str(output)], output, moment, writes)
    os.close(writes)
    return process, reads


def end(process: int, reads: int) -> Ended:
    """Wait for a process that `start` began."""
    with open(reads, encoding="utf-8", errors="replace") as pipe:
        text, _, touches = pipe.read().partition(_TOUCHED)
    _, status, used = os.wait4(process, 0)
    seconds = used.ru_utime + used.ru_stime
    return Ended(os.waitstatus_to_exitcode(status), text, int(touches or 0), seconds)


def run(arguments: Sequence[str], output: Path, moment: Moment = NEVER) -> Ended:
    """Run ``emodc ARGUMENTS --output OUTPUT`` to its end, or to the moment when it is ended."""
    return end(*start(arguments, output, moment))


def random_moment(whole: Ended, rng: np.random.Generator) -> Moment:
    """Return a moment within a command that ended as ``whole`` did when it was not interrupted."""
    if rng.random() < 0.5:
        return Moment(touch=int(rng.integers(1, whole.touches + 1)))
    return Moment(seconds=max(0.001, float(rng.random()) * whole.seconds))


def content(folder: Path) -> dict[str, bytes | str]:
    """Return what a command's folder holds by path, but for what tells of time and of processes.

    Saved errors of an evaluation hold the time that they took: its report and predictions, made of
    them, are compared.
    """
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        left_out = path.name.startswith((".emodc.lock", "events.out"))
        left_out |= path.suffix == ".part" or name.startswith(("errors/", "cells/", "results/"))
        if path.is_dir() or left_out:
            continue
        held = path.read_bytes()
        timed = path.suffix in (".json", ".md")
        found[name] = _timeless(held.decode()) if timed else held
    return found


def _timeless(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not _SECONDS.fullmatch(line))


def _become(arguments: Sequence[str], output: Path, moment: Moment, writes: int) -> NoReturn:
    """Be the command; what pytest holds open is not for it."""
    code = 70
    try:
        for number in (1, 2):
            os.dup2(writes, number)
        sys.stdout, sys.stderr = (open(n, "w", closefd=False) for n in (1, 2))  # noqa: SIM115
        sys.argv = ["emodc", *arguments]
        touches = _count_touches(output, moment.touch)
        if moment.file_size:
            limits = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (moment.file_size, limits[1]))
        if moment.seconds:
            signal.signal(signal.SIGPROF, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_PROF, moment.seconds)
        code = _main()
        sys.stderr.flush()
        os.write(writes, f"{_TOUCHED}{touches[0]}".encode())
    finally:
        os._exit(code)


def _main() -> int:
    from emodc.cli.app import main

    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def _count_touches(output: Path, last: int) -> list[int]:
    """Count touches of the output in the list that is returned; kill this process before one."""
    count, place = [0], str(output)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event not in _TOUCHES or not str(arguments[0]).startswith(place + os.sep):
            return
        count[0] += 1
        if count[0] == last:
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)

    sys.addaudithook(hook)
    return count
