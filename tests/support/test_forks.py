import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection

import pytest
import torch

from emodc.support import forks
from emodc.support.forks import before_computing

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def in_a_fork(task: Callable[[], object]) -> str:
    """Return what ``task`` returns or raises in a forked process."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)

    def work(answer: Connection) -> None:
        try:
            answer.send(str(task()))
        except Exception as error:
            answer.send(f"{type(error).__name__}: {error}")

    process = context.Process(target=work, args=(there,), daemon=True)
    process.start()
    assert here.poll(60)
    process.join(60)
    return str(here.recv())


def computed_with(threads: int) -> str:
    torch.set_num_threads(threads)
    before_computing()
    return "computed"


def test_a_fork_after_computing_with_threads_is_told_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forks, "_started", os.getpid())
    answer = in_a_fork(lambda: computed_with(2))
    assert answer.startswith("RuntimeError: this process was forked after")
    assert "spawn" in answer
    assert "torch.set_num_threads(1)" in answer
    assert "\n" not in answer
    assert in_a_fork(lambda: computed_with(1)) == "computed"


def test_a_fork_before_computing_may_have_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "_started", None)
    before_computing()  # with one thread, as in all tests
    assert in_a_fork(lambda: computed_with(2)) == "computed"


HANGS = """
import multiprocessing, numpy, torch
from emodc import EmotionClassifier

torch.set_num_threads(2)
classifier = EmotionClassifier.from_pretrained("face48", device="cpu")
crop = numpy.zeros((48, 48), numpy.uint8)

def work(threads):
    if threads:
        torch.set_num_threads(threads)
    for ask in (
        lambda: classifier.predict(crop, from_crops=True, steps=2)[0].status,
        lambda: bool(EmotionClassifier.from_pretrained("face48", device="cpu")),
    ):
        try:
            print(ask(), flush=True)
        except RuntimeError as error:
            print(error, flush=True)

if __name__ == "__main__":
    for threads in (0, 1):
        process = multiprocessing.get_context("fork").Process(target=work, args=(threads,))
        process.start()
        process.join()
"""


@pytest.mark.slow
def test_a_fork_after_loading_does_not_hang() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=120, check=True
    )
    said = done.stdout.splitlines()
    assert [line.startswith("this process was forked") for line in said[:2]] == [True, True]
    assert said[2:] == ["ok", "True"]
