"""``emodc predict`` on a video or before a camera.

The rows go into a file beside the first output, from which an interrupted command goes on; the
outputs are made of it in the end.
"""

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

from emodc.cli.console import note, print_rich, progress
from emodc.cli.outputs import STANDARD_OUTPUT, Outputs
from emodc.cli.video_outputs import Persons, write_outputs
from emodc.faces.frames import Footage
from emodc.faces.video import VideoFile
from emodc.inference.classifier import EmotionClassifier
from emodc.inference.prediction import VideoPrediction
from emodc.inference.records import video_columns, video_record
from emodc.inference.video import VideoAnalysis, VideoOptions, VideoSettings, open_footage
from emodc.inference.video_rows import VideoRows, video_rows
from emodc.model.identity import model_identity
from emodc.model.model import Model
from emodc.support.text import printable


def predict_video(
    source: str | int,
    outputs: Outputs,
    load: Callable[[], EmotionClassifier],
    options: Mapping[str, Any],
) -> None:
    """Classify the faces of a video, and write what is asked for.

    Args:
        source: path of a video, or number of a camera.
        outputs: where to.
        load: returns the classifier; called once the input is known to be usable.
        options: see `emodc.inference.video.VideoOptions`.
    """
    settings = VideoSettings.of(cast(VideoOptions, dict(options)))
    footage = open_footage(source)
    outputs.for_video(source)
    classifier = load()
    analysis = classifier.video_analysis(footage, settings)
    persons = Persons()
    with ExitStack() as stack:
        kept = None
        if outputs.files:
            path = outputs.files[0].with_name(f"{outputs.files[0].name}.rows")
            if isinstance(source, int):  # what a camera showed does not come again
                path.unlink(missing_ok=True)
            identity = _identity(source, classifier.model, settings)
            kept = stack.enter_context(video_rows(path, identity))
            if kept.state is not None:
                note(f"going on at {kept.state['time']:.1f} s, from {path}")
                analysis.resume(kept.state)
        _watch(analysis, footage, settings, classifier.classes_, outputs, persons, kept)
        damaged = footage.damaged if isinstance(footage, VideoFile) else 0
        if damaged:
            note(f"{footage.name}: {damaged} damaged packets were left out")
        if kept is not None:
            write_outputs(outputs, kept, footage, settings.selection, classifier.classes_)
            note(f"{persons.summary()}, in {', '.join(map(str, outputs.files))}")
        elif outputs.to_terminal:
            print_rich(persons.table())


def _watch(
    analysis: VideoAnalysis,
    footage: Footage,
    settings: VideoSettings,
    classes: tuple[str, ...],
    outputs: Outputs,
    persons: Persons,
    kept: VideoRows | None,
) -> None:
    """Go through the video, print rows where that is asked for, and keep them."""
    if kept is not None:
        for row in kept:
            persons.add(row)
    start, end = settings.selection.start, settings.selection.end
    end = footage.duration if end is None else min(end, footage.duration or end)
    to_print = Outputs(
        STANDARD_OUTPUT if outputs.csv == STANDARD_OUTPUT else None,
        STANDARD_OUTPUT if outputs.json == STANDARD_OUTPUT else None,
        *(None,) * 4,
    )
    quiet = outputs.csv == STANDARD_OUTPUT and sys.stdout.isatty()
    with (
        to_print.tables(video_columns(classes), sys.stdout) as tables,
        progress("s of video", show=not quiet) as advance,
    ):
        for rows in _until_interrupted(analysis, footage, kept):
            for row in rows:
                persons.add(row)
                for table, flat in tables:
                    table.write(video_record(row, classes) if flat else row.to_dict())
            if kept is not None:
                kept.add(rows, analysis.state())
            last = rows[-1]
            total = None if end is None else round(end - start)
            advance(round(last.time - start), total, last.label or "")


def _until_interrupted(
    analysis: VideoAnalysis, footage: Footage, kept: VideoRows | None
) -> Iterator[list[VideoPrediction]]:
    """Go through the batches; what interrupts a file's with a word just ends a camera's."""
    seen = 0
    try:
        for rows in analysis.batches():
            seen += len(rows)
            yield rows
    except ValueError as error:
        if isinstance(footage, VideoFile) or not seen:
            raise
        note(str(error))  # it was unplugged; what it showed is there
    except KeyboardInterrupt:
        if not isinstance(footage, VideoFile):
            return
        if kept is not None:
            note(f"what is done is kept in {kept.path}: the same command goes on from there")
        raise


def _identity(source: str | int, model: Model, settings: VideoSettings) -> dict[str, Any]:
    """Return what decides the rows."""
    decision = hashlib.sha256(model.decision.model_dump_json().encode()).hexdigest()
    identity: dict[str, Any] = {**model_identity(model), "decision": decision}
    for name in ("detect_every", "draws", "half_life", "seed"):
        identity[name] = getattr(settings, name)
    chosen = settings.selection
    identity["selection of frames"] = [chosen.every, chosen.rate, chosen.start, chosen.end]
    if isinstance(source, str):
        facts = Path(source).stat()
        identity["video"] = [printable(str(Path(source).resolve())), facts.st_size]
        identity["version of the video"] = facts.st_mtime_ns
    return identity
