"""Write the study's results into the pages that have a place for them.

    python scripts/write_study.py

Text between ``<!-- study -->`` and ``<!-- end of study -->`` in README.md and the pages of docs/ is
replaced by the tables of docs/study/study.json, of `emodc study`, and by the figures beside it.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emodc.study.output import ACCURACY, REPORT, VALIDATION
from emodc.study.tables import study_section
from marked import has_part, with_part

ROOT = Path(__file__).resolve().parent.parent
PART = "study"
CAPTIONS = {
    ACCURACY: "Test accuracy by arm",
    VALIDATION: "Validation accuracy over training samples",
}


def rewritten(page: str, report: dict[str, Any] | None, pictures: Sequence[str] = ()) -> str:
    """Return a page with the study between its marks.

    Args:
        page: its text; without marks it stays as it is.
        report: of `emodc study`, if there is one.
        pictures: lines that show the figures.
    """
    lines = ["None yet."] if report is None else [*study_section(report)]
    for picture in pictures:
        lines += ["", picture]
    text = "\n".join(lines) + "\n"
    return with_part(page, PART, text)


def write(root: Path) -> list[Path]:
    """Rewrite the marked parts below a folder, and return the pages that have one."""
    folder = root / "docs" / "study"
    source = folder / REPORT
    report = json.loads(source.read_text(encoding="utf-8")) if source.exists() else None
    figures = {folder / f"{name}.png": caption for name, caption in CAPTIONS.items()}
    pages = [root / "README.md", *sorted((root / "docs").rglob("*.md"))]
    marked = [page for page in pages if has_part(page.read_text(encoding="utf-8"), PART)]
    for page in marked:
        pictures = [
            f"![{caption}]({Path(os.path.relpath(file, page.parent)).as_posix()})"
            for file, caption in figures.items()
            if file.exists()
        ]
        text = rewritten(page.read_text(encoding="utf-8"), report, pictures)
        page.write_text(text, encoding="utf-8")
    return marked


if __name__ == "__main__":
    for written in write(ROOT):
        print(written.relative_to(ROOT))
