"""How long work takes: measured by a probe, told before it begins, shown while it goes on."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol


class Progress(Protocol):
    """Is told how far some work is."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Take note that ``done`` of ``total`` is finished; ``note`` says what is at work."""


def unheard(done: int, total: int, note: str = "") -> None:
    """Be a `Progress` that tells nobody."""


def seconds_of(action: Callable[[], object], repeats: int = 1) -> float:
    """Return the seconds of the fastest of some calls, after one that sets things up.

    Args:
        action: what is called.
        repeats: calls that are timed: other work on the machine disturbs single ones.
    """
    seconds = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])


@dataclass(frozen=True)
class Cost:
    """What is still to be done for one model or arm.

    Attributes:
        name: whose work it is.
        work: how much of what, by what it is called.
        seconds: that it takes, by a probe.
    """

    name: str
    work: Mapping[str, int]
    seconds: float

    def __str__(self) -> str:
        """Say it in one line."""
        if not any(self.work.values()):
            return f"{self.name}: finished"
        amounts = ", ".join(f"{amount:,} {what}" for what, amount in self.work.items())
        return f"{self.name}: {amounts}, about {duration(self.seconds)}"


def duration(seconds: float) -> str:
    """Return a time as people would say it: ``2.5 minutes``, ``40 seconds``."""
    minutes = seconds / 60
    if minutes >= 90:
        return f"{minutes / 60:.1f} hours"
    return f"{minutes:.1f} minutes" if minutes >= 1 else f"{seconds:.0f} seconds"
