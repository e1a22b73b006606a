"""Where a network computes and in which numbers, and what to do when that is too little."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import torch

Precision = Literal["fp32", "bf16", "fp16"]
"""A number format, of weights or of arithmetic."""

DTYPES: Mapping[str, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
"""The number formats of `Precision`."""


def choose_device(name: str) -> torch.device:
    """Return the device of this name, if this machine has it.

    Args:
        name: ``auto`` (CUDA before MPS before the CPU), ``cuda``, ``cuda:N``, ``mps`` or ``cpu``.

    Raises:
        ValueError: there is no such device here; the message lists those there are.
    """
    found = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    found += ["mps"] if torch.backends.mps.is_available() else []
    found += ["cpu"]
    if name == "auto" or (name == "cuda" and found[0] == "cuda:0"):
        return torch.device(found[0])
    if name not in found:
        raise ValueError(f"no device '{name}' here: accepted are auto, {', '.join(found)}")
    return torch.device(name)


@contextmanager
def when_memory_is_full(remedy: str) -> Iterator[None]:
    """Turn torch's error about a device's memory into a line that says what to do.

    Args:
        remedy: the settings to change.

    Raises:
        ValueError: the memory is full.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ValueError(f"out of memory: {remedy} ({str(error).splitlines()[0]})") from None
