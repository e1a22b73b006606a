"""Write the figures of `emodc outliers` into docs/guarantees.md.

    python scripts/write_outliers.py

They are those of docs/outliers.json, a copy of the report of the command on that page.
"""

import json
from pathlib import Path

from emodc.experiments.outliers.output import outlier_section
from marked import with_part

ROOT = Path(__file__).resolve().parent.parent
PAGE, REPORT = ROOT / "docs" / "guarantees.md", ROOT / "docs" / "outliers.json"


def rewritten() -> dict[Path, str]:
    """Return the page as it should be."""
    lines = outlier_section(json.loads(REPORT.read_text(encoding="utf-8")))
    page = PAGE.read_text(encoding="utf-8")
    return {PAGE: with_part(page, "outliers", "\n".join(lines) + "\n")}


if __name__ == "__main__":
    for page, text in rewritten().items():
        page.write_text(text, encoding="utf-8")
