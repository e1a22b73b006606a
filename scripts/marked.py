"""Pages with generated parts, between ``<!-- NAME -->`` and ``<!-- end of NAME -->``."""

import re


def has_part(page: str, name: str) -> bool:
    """Tell whether a page has a part of this name."""
    return _part(name).search(page) is not None


def with_part(page: str, name: str, text: str) -> str:
    """Return a page with this text, which ends with a line break, as the part of this name."""
    return _part(name).sub(lambda found: found[1] + text + found[2], page)


def _part(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
