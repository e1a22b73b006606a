"""Text from elsewhere, made fit for a message of one line."""

import re

# Control characters, line and paragraph separators, marks that turn the direction of writing, and
# the surrogates that stand for bytes that are no text. Letters and spaces of any script stay.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    r"""Return text that can be printed: it moves no cursor, breaks no line and is valid Unicode.

    Names of files may hold escape sequences, which a terminal would obey, and bytes that are no
    text. These characters are written as Python writes them: ``\x1b``, ``\n``, ``\xff``.
    """
    return _UNSAFE.sub(_escaped, text)


def shortened(text: str, most: int = 1000) -> str:
    """Return text of at most about ``most`` characters: its start and its end."""
    if len(text) <= most:
        return text
    return f"{text[: most * 2 // 3]}... ({len(text):,} characters) ...{text[-most // 4 :]}"


def folder_name(text: str) -> str:
    """Return text as a folder can be called."""
    return re.sub(r"[^\w.-]+", "_", text).strip(".") or "_"


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was no text: os.fsdecode
        return f"\\x{code - 0xDC00:02x}"
    return match[0].encode("unicode_escape").decode("ascii")
