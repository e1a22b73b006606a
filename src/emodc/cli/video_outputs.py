"""The files that ``emodc predict`` makes of a video's rows."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from emodc.cli.outputs import STANDARD_OUTPUT, Outputs
from emodc.faces.frames import Footage, Selection
from emodc.inference.prediction import VideoPrediction
from emodc.inference.records import video_columns, video_record
from emodc.reports.overlay import Shown, draw_faces
from emodc.reports.overlay_video import write_video
from emodc.reports.subtitles import Cue, webvtt
from emodc.reports.timeline import Line, save_timeline
from emodc.support.files import write_atomically

if TYPE_CHECKING:
    from rich.console import RenderableType

_LAST = 0.5  # seconds for which a frame counts where none follows soon


@dataclass
class _Person:
    """What was seen of a person.

    Attributes:
        first: time in seconds.
        last: likewise.
        labels: frames by label.
    """

    first: float
    last: float
    labels: Counter[str] = field(default_factory=Counter)


class Persons:
    """Counts who was seen, when, and with which expressions."""

    def __init__(self) -> None:
        self._persons: dict[int, _Person] = {}
        self._frames = 0
        self._last_frame = -1

    def add(self, row: VideoPrediction) -> None:
        """Take note of a row; rows come in the order of the frames."""
        self._frames += row.frame != self._last_frame
        self._last_frame = row.frame
        if row.person is not None and row.label is not None:
            known = self._persons.setdefault(row.person, _Person(row.time, row.time))
            known.last = row.time
            known.labels[row.label] += 1

    def summary(self) -> str:
        """Return how many persons were seen in how many frames."""
        who = "1 person" if len(self._persons) == 1 else f"{len(self._persons):,} persons"
        return f"{who} in {self._frames:,} frames"

    def table(self) -> "RenderableType":
        """Return a table with a line for each person."""
        from rich.table import Table

        table = Table("person", "from", "to", "frames", "expressions")
        for number, person in self._persons.items():
            frames = person.labels.total()
            shares = [f"{name} {n / frames:.0%}" for name, n in person.labels.most_common(3)]
            times = f"{person.first:.1f} s", f"{person.last:.1f} s"
            table.add_row(str(number), *times, f"{frames:,}", ", ".join(shares))
        table.caption = self.summary()
        return table


def write_outputs(
    outputs: Outputs,
    rows: Iterable[VideoPrediction],
    footage: Footage,
    selection: Selection,
    classes: Sequence[str],
) -> None:
    """Write all files that are asked for.

    Args:
        outputs: which.
        rows: can be gone through several times.
        footage: what the rows are of.
        selection: its frames that the rows are of.
        classes: in label order.
    """
    files = replace(
        outputs,
        csv=None if outputs.csv == STANDARD_OUTPUT else outputs.csv,
        json=None if outputs.json == STANDARD_OUTPUT else outputs.json,
    )
    with files.tables(video_columns(classes), None) as tables:
        for row in rows if tables else ():
            for table, flat in tables:
                table.write(video_record(row, classes) if flat else row.to_dict())
    if files.vtt is not None:
        write_atomically(files.vtt, webvtt(cues(rows)).encode())
    if files.timeline is not None:
        title = Path(footage.name).name
        save_timeline(files.timeline, lines(rows), classes, title)
    if files.overlay is not None:
        write_video(files.overlay, marked(rows, footage, selection))


def cues(rows: Iterable[VideoPrediction]) -> Iterator[Cue]:
    """Yield the subtitles: one for as long as a person's answer stays the same."""
    shown: dict[int, tuple[float, str, list[float]]] = {}
    for time, following, frame in _frames(rows):
        now = {row.person: row for row in frame if row.person is not None}
        for person in [p for p in shown if p not in now or now[p].label != shown[p][1]]:
            yield _cue(person, *shown.pop(person), end=time)
        for person, row in now.items():
            label = row.label or ""
            start, _, sure = shown.setdefault(person, (time, label, []))
            sure.append((row.probabilities or {}).get(label, 0.0))
            if following is None:
                yield _cue(person, start, label, sure, end=time + _LAST)


def _cue(person: int, start: float, label: str, sure: list[float], *, end: float) -> Cue:
    mean = sum(sure) / len(sure)
    return Cue(start, end, f"person {person}", f"{label} ({mean:.0%})")


def lines(rows: Iterable[VideoPrediction]) -> dict[int, Line]:
    """Return every person's probabilities over time."""
    times: dict[int, list[float]] = defaultdict(list)
    answers: dict[int, list[NDArray[np.float32]]] = defaultdict(list)
    for row in rows:
        if row.person is not None and row.probabilities is not None:
            times[row.person].append(row.time)
            answers[row.person].append(np.array([*row.probabilities.values()], np.float32))
    return {p: Line(np.array(times[p]), np.stack(answers[p])) for p in times}


def marked(
    rows: Iterable[VideoPrediction], footage: Footage, selection: Selection
) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Yield every frame with its faces, or those of the last frame that was looked at."""
    answers = _frames(rows)
    upcoming = next(answers, None)
    faces: list[Shown] = []
    whole = Selection(start=selection.start, end=selection.end)
    for frame in footage.frames(whole):
        while upcoming is not None and upcoming[0] <= frame.time:
            faces = [
                Shown(row.box, row.probabilities, f"person {row.person}")
                for row in upcoming[2]
                if row.box is not None and row.probabilities is not None
            ]
            upcoming = next(answers, None)
        yield frame.time, draw_faces(frame.image, faces)


def _frames(
    rows: Iterable[VideoPrediction],
) -> Iterator[tuple[float, float | None, list[VideoPrediction]]]:
    """Yield the time of each frame, of the next one (None: there is none), and its rows."""
    waiting: tuple[float, list[VideoPrediction]] | None = None
    for _, group in groupby(rows, key=lambda row: row.frame):
        frame = list(group)
        if waiting is not None:
            yield waiting[0], frame[0].time, waiting[1]
        waiting = frame[0].time, frame
    if waiting is not None:
        yield waiting[0], None, waiting[1]
