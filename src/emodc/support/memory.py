"""What to say when a device's memory is full."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def naming_the_remedy(remedy: str) -> Iterator[None]:
    """Turn torch's error into a line that says what to do.

    Args:
        remedy: the settings to change.

    Raises:
        ValueError: the memory is full.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ValueError(f"out of memory: {remedy} ({str(error).splitlines()[0]})") from None
