"""Pages with generated parts, between ``<!-- NAME -->`` and ``<!-- end of NAME -->``."""

import re
import textwrap

WIDTH = 100
"""Columns of a page's text; tables and code are as wide as they are."""


def has_part(page: str, name: str) -> bool:
    """Tell whether a page has a part of this name."""
    return _part(name).search(page) is not None


def with_part(page: str, name: str, text: str) -> str:
    """Return a page with this text, which ends with a line break, as the part of this name.

    Lines of prose that are too long are wrapped.
    """
    return _part(name).sub(lambda found: found[1] + _wrapped(text) + found[2], page)


def _wrapped(text: str) -> str:
    lines, code = [], False
    for line in text.split("\n"):
        code ^= line.startswith("```")
        if len(line) <= WIDTH or code or line.startswith(("|", "![")):
            lines.append(line)
        else:
            lines += textwrap.wrap(line, WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines)


def _part(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
