"""The detectors' networks, which OpenCV runs on the CPU, for threads to share.

OpenCV is imported on first use.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emodc.support.optional import importing

MULTIPLE = 32
"""Both sides of an image shown to a detector's network must be multiples of this."""

_allowed: threading.BoundedSemaphore


def _allow_one_net_for_each_core() -> None:
    global _allowed
    _allowed = threading.BoundedSemaphore(os.cpu_count() or 1)


_allow_one_net_for_each_core()  # CenterFace takes some 270 megabytes for a photograph
if hasattr(os, "register_at_fork"):  # nets that the parent's threads use never come back to a fork
    os.register_at_fork(after_in_child=_allow_one_net_for_each_core)


def import_cv2() -> Any:
    """Return the module cv2.

    Raises:
        ImportError: the extra `faces` is not installed; the message says how to get it.
    """
    with importing("faces", "finding faces"):
        import cv2
    return cv2


def model_bytes(name: str) -> NDArray[np.uint8]:
    """Return the file of a network that ships with the package, as OpenCV takes it."""
    file = resources.files("emodc") / "assets" / "detectors" / f"{name}.onnx"
    return np.frombuffer(file.read_bytes(), np.uint8)


class Nets:
    """Copies of one network for threads that share a detector.

    OpenCV's nets must not be used by two threads at once, so each thread has one to itself while it
    needs it: one that is idle, or a new one. As many run at once as there are cores.

    Args:
        read: returns a new copy.
    """

    def __init__(self, read: Callable[[], Any]) -> None:
        self._read = read
        self._idle: list[Any] = []

    @contextmanager
    def one(self) -> Iterator[Any]:
        """Lend a copy."""
        with _allowed:
            try:
                net = self._idle.pop()  # one step, which no other thread comes between
            except IndexError:
                net = self._read()
            yield net
            self._idle.append(net)  # not after an error, which could leave it half done
