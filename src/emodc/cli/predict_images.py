"""``emodc predict`` on images: one at a time, whatever their number."""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import typer

from emodc.cli.console import given_command, note, print_error, print_rich, progress
from emodc.cli.outputs import STANDARD_OUTPUT, Outputs
from emodc.faces.listing import Skipped, summary
from emodc.faces.sources import Source, image_paths, read_source
from emodc.inference.classifier import EmotionClassifier
from emodc.inference.page import PredictionPage
from emodc.inference.prediction_list import prediction_table
from emodc.inference.records import image_columns, image_record
from emodc.inference.scorer import Scoring
from emodc.reports.html import write_page

if TYPE_CHECKING:
    from emodc.inference.prediction import Prediction


def predict_images(
    paths: Sequence[str],
    outputs: Outputs,
    load: Callable[[], EmotionClassifier],
    *,
    from_crops: bool,
    reject: float | None,
    **scoring: Unpack[Scoring],
) -> None:
    """Classify images, and write what is asked for.

    Args:
        paths: images, folders and patterns.
        outputs: where to.
        load: returns the classifier; called once the input is known to be usable.
        from_crops: see `EmotionClassifier.predict`.
        reject: see `EmotionClassifier.predict`.
        **scoring: see `EmotionClassifier.predict`.
    """
    skipped: list[Skipped] = []
    files = image_paths(paths, skipped.append)
    if skipped:
        note(summary(skipped))
    classifier = load()
    stream = classifier.iter_predict(files, from_crops=from_crops, reject=reject, **scoring)
    classes, kept = classifier.classes_, list["Prediction"]()
    marked = None if outputs.overlay is None else Marked(outputs.overlay, files)
    page = PredictionPage(classifier.model.name, given_command())
    with_table = outputs.to_terminal and not outputs.files
    found: Counter[str] = Counter()
    quiet = outputs.csv == STANDARD_OUTPUT and sys.stdout.isatty()
    with (
        outputs.tables(image_columns(classes), sys.stdout) as tables,
        progress("images", show=not quiet) as advance,
    ):
        for row in stream:
            for rows, flat in tables:
                rows.write(image_record(row, classes) if flat else row.to_dict())
            if with_table:
                kept.append(row)
            if marked is not None:
                marked.add(row)
            if outputs.html is not None:
                page.add(row, files[row.image])
            found[row.status] += 1
            if row.status == "unreadable":
                print_error(row.error or "")
            advance(row.image + 1, len(files))
        for rows, flat in tables if skipped else ():
            for item in () if flat else skipped:
                rows.write(_skipped(item))
        if marked is not None:
            marked.finish()
    if outputs.html is not None:
        write_page(outputs.html, page.page())
        note(f"the page is {outputs.html}")
    if with_table and found["unreadable"] < len(files):
        print_rich(prediction_table(kept))
    _tell(outputs, found, len(files))


def _skipped(item: Skipped) -> dict[str, Any]:
    return {"file": str(item.file), "status": "skipped", "error": item.reason}


def _tell(outputs: Outputs, found: Counter[str], files: int) -> None:
    if outputs.files:
        rows = "1 face" if found["ok"] == 1 else f"{found['ok']:,} faces"
        note(f"{rows} in {', '.join(map(str, outputs.files))}")
    if found["no_face"]:
        missing = f"no face found in {found['no_face']} of {files} images"
        note(f"{missing}; for images of a face crop, give --no-detect")
    if found["atypical"]:
        note(f"{found['atypical']:,} faces rejected: they are unlike those that the model knows")
    if found["unreadable"]:
        raise typer.Exit(2 if found["unreadable"] == files else 1)


class Marked:
    """Writes images with their faces marked into a folder, as JPEG.

    Args:
        folder: made if there is none.
        files: the images by number.
    """

    def __init__(self, folder: Path, files: Sequence[Source]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._files = folder, files
        self._rows: list[Prediction] = []
        self._taken: set[str] = set()

    def add(self, row: "Prediction") -> None:
        """Take a row; an image is written when a row of the next one comes."""
        if self._rows and self._rows[0].image != row.image:
            self.finish()
        self._rows.append(row)

    def finish(self) -> None:
        """Write the last image."""
        from PIL import Image

        from emodc.reports.overlay import Shown, draw_faces
        from emodc.support.files import whole_file

        rows, self._rows = self._rows, []
        if not rows or rows[0].status == "unreadable":
            return
        faces = [Shown(r.box, r.probabilities) for r in rows if r.box and r.probabilities]
        # Read again: that costs little beside finding the faces, and holds one image in memory.
        image = read_source(self._files[rows[0].image])
        with whole_file(self._folder / self._name(rows[0])) as file:
            Image.fromarray(draw_faces(image, faces)).save(file, "JPEG", quality=92)

    def _name(self, row: "Prediction") -> str:
        stem = Path(row.file).stem if row.file else f"image-{row.image}"
        name, number = f"{stem}.jpg", 1
        while name.lower() in self._taken:  # of another folder
            number += 1
            name = f"{stem}-{number}.jpg"
        self._taken.add(name.lower())
        return name
