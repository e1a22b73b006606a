"""Subtitles in WebVTT (W3C, "WebVTT: The Web Video Text Tracks Format", 2019)."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Cue:
    """A line of text, and when it is shown.

    Attributes:
        start: seconds.
        end: seconds, after ``start``.
        speaker: whom it belongs to.
        text: what it says.
    """

    start: float
    end: float
    speaker: str
    text: str


def webvtt(cues: Iterable[Cue]) -> str:
    """Return the file's text, the cues in the order of time."""
    parts = ["WEBVTT\n"]
    for cue in sorted(cues, key=lambda cue: (cue.start, cue.speaker)):
        text = f"<v {_escaped(cue.speaker)}>{_escaped(cue.text)}"
        parts.append(f"{_clock(cue.start)} --> {_clock(cue.end)}\n{text}\n")
    return "\n".join(parts)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _clock(seconds: float) -> str:
    milliseconds = round(1000 * max(seconds, 0.0))
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest / 1000:06.3f}"
