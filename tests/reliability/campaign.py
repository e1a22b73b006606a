"""A campaign: many mutated inputs, each of which must be answered or refused in one line.

A `Campaign` is a mutator (`images`, `annotations`; others can be added for models, for killed
processes and full disks) and what is done with its cases. Everything follows from the seed, so a
case that breaks is repeated by its number alone, and the time is bounded: a campaign stops, and
says how many cases it has tried.
"""

import sys
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

C = TypeVar("C")

SLOW_CASE = 10.0
"""No case may take longer, in seconds of the processor; `_watched` names one that waits."""

MOST_MEMORY = 400_000_000
"""No case may allocate more through Python, in bytes."""


@dataclass
class Report:
    """What a campaign has found.

    Attributes:
        name: of the campaign.
        cases: how many were tried.
        outcomes: how many were answered, refused, or broke, and in which way.
        broken: a description of each that broke.
        slowest: seconds of the slowest case.
    """

    name: str = "campaign"
    cases: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    slowest: float = 0.0

    def __str__(self) -> str:
        told = ", ".join(f"{number:,} {name}" for name, number in sorted(self.outcomes.items()))
        memory = f"most memory {resident_memory() / 1e9:.2f} GB"
        return f"{self.name}: {self.cases:,} cases: {told}; slowest {self.slowest:.2f} s; {memory}"


@dataclass(frozen=True)
class Campaign(Generic[C]):
    """Cases and what is done with each.

    Attributes:
        name: of the campaign, for reports.
        mutate: makes case number i from a generator of its own: a name and the case.
        attempt: what is done with it; it may return, or raise one of `refusals`.
        refusals: what is a proper answer to a bad input.
    """

    name: str
    mutate: Callable[[np.random.Generator], tuple[str, C]]
    attempt: Callable[[C], object]
    refusals: tuple[type[Exception], ...] = (ValueError,)

    def run(self, *, seconds: float, cases: int, seed: int = 0) -> Report:
        """Try cases 0, 1, ... until there are enough or the time is up.

        Args:
            seconds: of the processor; a busy machine tries as many cases as an idle one.
            cases: how many are enough.
            seed: decides all cases.
        """
        report = Report(self.name)
        end = time.process_time() + seconds
        while report.cases < cases and time.process_time() < end:
            self.try_case(report.cases, seed, report)
        return report

    def try_case(self, number: int, seed: int, report: Report) -> None:
        """Try one case, and enter it into the report."""
        what, case = self.mutate(np.random.default_rng([seed, number]))
        place = f"{self.name}, seed {seed}, case {number} ({what})"
        started = time.process_time()  # not that of a busy machine
        try:
            with _watched(place):
                self.attempt(case)
            outcome = "answered"
        except self.refusals as error:
            outcome = "refused"
            if problem := fault_of_message(str(error)):
                outcome = "refused badly"
                report.broken.append(f"{place}: {problem}: {str(error)[:300]!r}")
        except Exception as error:
            outcome = f"raised {type(error).__name__}"
            report.broken.append(f"{place}: {error!r:.300}")
        took = time.process_time() - started
        report.cases += 1
        report.outcomes[outcome] += 1
        report.slowest = max(report.slowest, took)
        if took > SLOW_CASE:
            report.broken.append(f"{place}: took {took:.1f} s")


def fault_of_message(message: str) -> str:
    """Return what is wrong with a message to the user, "" if nothing is."""
    if not message.strip():
        return "no message"
    if "\n" in message or any(ord(letter) < 32 for letter in message):
        return "not one line"
    if not message.isprintable() and "\x1b" in message:
        return "an escape sequence"
    if len(message) > 2000:
        return f"{len(message):,} characters"
    return ""


@contextmanager
def _watched(place: str) -> Iterator[None]:
    """Name the case on stderr if it does not end: a hang would otherwise tell nothing."""
    timer = threading.Timer(3 * SLOW_CASE, print, (f"reliability: {place} hangs",))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def bounded_memory(limit: int = MOST_MEMORY) -> Iterator[None]:
    """Fail if Python, numpy included, allocates more than this inside the block."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= limit, f"{peak:,} bytes allocated, more than {limit:,}"


def resident_memory() -> int:
    """Return the most memory that this process has had, in bytes; 0 where nobody knows."""
    if sys.platform != "linux":
        return 0
    import resource

    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
