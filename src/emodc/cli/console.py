"""What the command line prints: tables, JSON, a progress bar, errors.

rich is imported on first use: help does without it.
"""

import json
import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import typer

from emodc.support.text import printable

if TYPE_CHECKING:
    from rich.console import RenderableType


_given: ContextVar[tuple[str, ...]] = ContextVar("_given", default=())


def is_main_process() -> bool:
    """Tell whether this process prints: of several that a launcher started, the first one does."""
    rank = os.environ.get("RANK", "")
    return not rank.isdigit() or int(rank) == 0


def note(message: str) -> None:
    """Print a message on stderr."""
    if is_main_process():
        typer.echo(f"emodc: {message}", err=True)


def print_error(message: str) -> None:
    """Print an error on stderr, as one line."""
    typer.echo(f"emodc: error: {printable(' '.join(message.splitlines()))}", err=True)


def exit_if_unreadable(images: int) -> None:
    """End the command with exit code 1 if images could not be read, and say how many."""
    if images:
        which = "1 image" if images == 1 else f"{images:,} images"
        print_error(f"{which} could not be read; see 'skipped' in the report")
        raise typer.Exit(1)


def remember_command(arguments: Sequence[str]) -> None:
    """Keep what the command line was given, for `given_command`."""
    _given.set(tuple(arguments))


def given_command() -> str:
    """Return the command as it was given, to be given again."""
    return shlex.join(["emodc", *_given.get()])


def show_log() -> None:
    """Print on stderr what training logs."""
    logging.basicConfig(format="emodc: %(message)s")
    level = logging.INFO if is_main_process() else logging.WARNING
    logging.getLogger("emodc").setLevel(level)


def print_json(value: Any) -> None:
    """Print JSON, indented."""
    typer.echo(json.dumps(value, indent=2, allow_nan=False))


def print_rich(renderable: "RenderableType") -> None:
    """Print what rich can render."""
    from rich.console import Console

    # Where there is no terminal there is no edge at which to wrap.
    Console(width=None if sys.stdout.isatty() else 240).print(renderable)


@contextmanager
def progress(unit: str, show: bool = True) -> Iterator[Callable[..., None]]:
    """Show a bar on stderr, if that is a terminal.

    Args:
        unit: what is counted.
        show: False hides the bar on a terminal too.

    Yields:
        ``advance(done, total, note="")``, to be called as the work goes on.
    """
    from rich import progress as bars
    from rich.console import Console

    console = Console(stderr=True)
    columns = (
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TextColumn(unit),
        bars.TextColumn("{task.fields[rate]}"),
        bars.TimeRemainingColumn(),
        bars.TextColumn("{task.fields[note]}"),
    )
    # Standard output stays what it is: rich would send it to stderr, above the bar.
    with bars.Progress(
        *columns,
        console=console,
        transient=True,
        redirect_stdout=False,
        disable=not (show and is_main_process() and console.is_terminal),
    ) as bar:
        task = bar.add_task("", total=None, rate="", note="")

        def advance(done: int, total: int | None, note: str = "") -> None:
            speed = bar.tasks[task].speed
            rate = f"{speed:.1f}/s" if speed else ""
            bar.update(task, completed=done, total=total, rate=rate, note=note)

        yield advance
