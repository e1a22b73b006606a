"""Forked processes, in which torch computes only if it needs no threads.

A fork copies the memory of a process, but of its threads only the one that forks. The pool that
torch computes with believes in threads that are gone, and the first computation waits for them
without end.
"""

import os

import torch

_started: int | None = None  # the process in which torch's threads were started


def before_computing() -> None:
    """Refuse to compute where torch would wait for the threads of the process it was forked from.

    Call it before anything that computes: it also takes down in which process that was.

    Raises:
        RuntimeError: this process was forked after another computed with several threads, and has
            not been told to compute with one.
    """
    global _started
    if torch.get_num_threads() == 1:
        return
    if _started is None:
        _started = os.getpid()
    elif _started != os.getpid():
        raise RuntimeError(
            "this process was forked after a model was loaded, and torch would wait forever for "
            "threads that did not come along: start processes by spawn "
            "(multiprocessing.get_context('spawn')), load the model in each process, or call "
            "torch.set_num_threads(1) before the fork or first thing after it"
        )
