"""What the command line prints: rows as a table or CSV, JSON, a progress bar, errors.

rich is imported on first use: help does without it.
"""

import csv
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

    from emodc.inference.prediction import Prediction


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


def prediction_table(rows: Sequence["Prediction"]) -> "RenderableType":
    """Return a table with a line for each row."""
    from rich.table import Table
    from rich.text import Text

    table = Table("file", "face", "expression", "probability", "box: left, top, right, bottom")
    for row in rows:
        file = Text(printable(row.file or ""), overflow="fold")
        if row.label is None or row.probabilities is None or row.box is None:
            reason = "no face found" if row.status == "no_face" else "cannot be read"
            table.add_row(file, "", Text(reason, style="dim"))
        else:
            probability = f"{row.probabilities[row.label]:.3f}"
            box = ", ".join(f"{value:.0f}" for value in row.box)
            others = [name for name in row.prediction_set or () if name != row.label]
            label = Text(row.label, style="bold")
            if others:
                label.append(f" or {', '.join(others)}", style="dim not bold")
            table.add_row(file, str(row.face), label, probability, box)
    return table


def csv_writer(classes: Sequence[str]) -> Callable[["Prediction"], None]:
    """Print the header of a CSV table and return what prints a row of it.

    Args:
        classes: names of the columns of probabilities.
    """
    corners = ("x0", "y0", "x1", "y1")
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(
        [
            *("file", "face", "status", "label", *classes, *corners),
            *("detection_score", "prediction_set", "trunk_passes", "error"),
        ]
    )

    def write(row: "Prediction") -> None:
        p, box = row.probabilities or {}, row.box or (None,) * 4
        numbers = [*(p.get(name) for name in classes), *box, row.detection_score]
        shown = [None if number is None else round(number, 6) for number in numbers]
        likely = None if row.prediction_set is None else ";".join(row.prediction_set)
        facts = [row.file, row.face, row.status, row.label]
        writer.writerow([*facts, *shown, likely, row.trunk_passes, row.error])

    return write


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

        def advance(done: int, total: int, note: str = "") -> None:
            speed = bar.tasks[task].speed
            rate = f"{speed:.1f}/s" if speed else ""
            bar.update(task, completed=done, total=total, rate=rate, note=note)

        yield advance
