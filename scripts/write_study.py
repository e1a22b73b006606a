"""Write the studies' results into the pages that have a place for them.

    python scripts/write_study.py

``<!-- study -->`` to ``<!-- end of study -->`` is replaced by the report and the figures in
docs/study/, of `emodc study`; ``<!-- quick study -->`` begins the place of those in
docs/study/quick/, of `emodc study --quick`.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emodc.experiments.study.output import ACCURACY, REPORT, VALIDATION
from emodc.experiments.study.tables import study_section
from marked import has_part, with_part

ROOT = Path(__file__).resolve().parent.parent
PARTS = {"study": "docs/study", "quick study": "docs/study/quick"}
"""Folders of studies, by the name of their part of a page."""

CAPTIONS = {
    ACCURACY: "Test accuracy by arm",
    VALIDATION: "Validation accuracy over training samples",
}


def section(report: dict[str, Any] | None, images: Sequence[str] = ()) -> list[str]:
    """Return a study as lines of Markdown.

    Args:
        report: of `emodc study`, if there is one.
        images: lines that show the figures.
    """
    if report is None:
        return ["None yet."]
    return [*study_section(report), *(line for shown in images for line in ("", shown))]


def rewritten(root: Path) -> dict[Path, str]:
    """Return the pages in a folder's docs that have a marked part, with the part renewed."""
    pages: dict[Path, str] = {}
    for part, place in PARTS.items():
        folder = root / place
        source = folder / REPORT
        report = json.loads(source.read_text(encoding="utf-8")) if source.exists() else None
        figures = {folder / f"{name}.png": caption for name, caption in CAPTIONS.items()}
        for page in sorted((root / "docs").rglob("*.md")):
            text = pages.get(page) or page.read_text(encoding="utf-8")
            if not has_part(text, part):
                continue
            images = [
                f"![{caption}]({Path(os.path.relpath(file, page.parent)).as_posix()})"
                for file, caption in figures.items()
                if file.exists()
            ]
            pages[page] = with_part(text, part, "\n".join(section(report, images)) + "\n")
    return pages


if __name__ == "__main__":
    for page, text in rewritten(ROOT).items():
        page.write_text(text, encoding="utf-8")
        print(page.relative_to(ROOT))
