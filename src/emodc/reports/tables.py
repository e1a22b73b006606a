"""Tables and lists as Markdown."""

from collections.abc import Mapping, Sequence

_SHOWN = 10  # skipped images listed


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table as lines of Markdown; every row has as many cells as the header."""
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def skipped_lines(skipped: Sequence[Mapping[str, str]]) -> list[str]:
    """Return a line for each of the first images that were skipped, and one for the others.

    Args:
        skipped: ``id`` and ``reason`` of each.
    """
    lines = [f"Skipped {image['id']}: {image['reason']}." for image in skipped[:_SHOWN]]
    if len(skipped) > _SHOWN:
        lines.append(f"Skipped {len(skipped) - _SHOWN} more, which the report names.")
    return lines
