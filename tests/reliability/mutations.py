"""Ways to damage bytes and texts, whatever they encode."""

from collections.abc import Callable, Sequence

import numpy as np

Mutation = Callable[[bytes, np.random.Generator], bytes]

_NUMBERS: Sequence[int] = (0, 1, 2, 127, 128, 255)
TOKENS: Sequence[bytes] = (
    *(b"", b"\0", b"\n", b"\r", b'"', b"'", b",", b"{", b"}", b"[", b"]", b"(", b")", b":", b"\\"),
    *(b"99999999999999999999", b"-1", b"1e400", b"NaN", b"null", b"true", b"1" * 400, b"0x10"),
    *(b"[" * 3000, b"{" * 500, b'{"a":' * 200, b"!!int ''", b"!!bool foo", b"!!timestamp foo"),
    *(
        b"2001-99-99",
        b"&a [*a]",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\x1b[2J",
        b"\xe2\x80\xae",
        b"\xc0",
    ),
    *(b"../../etc/passwd", b"/dev/zero", b"%s%n", b"\xed\xa0\x80", b"\\ud800", b"9" * 5000),
)
"""What breaks parsers, and what has broken this project's."""


def flip_bits(content: bytes, rng: np.random.Generator) -> bytes:
    """Flip one to eight bits."""
    damaged = bytearray(content)
    for place in rng.integers(0, len(damaged), rng.integers(1, 9)) if damaged else ():
        damaged[place] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def set_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    """Set some bytes, mostly near the start, where headers are."""
    damaged = bytearray(content)
    for _ in range(int(rng.integers(1, 5)) if damaged else 0):
        reach = min(len(damaged), 64) if rng.random() < 0.7 else len(damaged)
        damaged[int(rng.integers(reach))] = int(rng.choice(_NUMBERS))
    return bytes(damaged)


def cut_off(content: bytes, rng: np.random.Generator) -> bytes:
    """Keep the start."""
    return content[: int(rng.integers(0, len(content) + 1))]


def cut_out(content: bytes, rng: np.random.Generator) -> bytes:
    """Remove a piece."""
    start, end = sorted(rng.integers(0, len(content) + 1, 2).tolist())
    return content[:start] + content[end:]


def repeat(content: bytes, rng: np.random.Generator) -> bytes:
    """Write a piece twice."""
    start, end = sorted(rng.integers(0, len(content) + 1, 2).tolist())
    return content[:end] + content[start:end] + content[end:]


def insert_token(content: bytes, rng: np.random.Generator) -> bytes:
    """Put one of `TOKENS` somewhere."""
    place = int(rng.integers(0, len(content) + 1))
    return content[:place] + TOKENS[int(rng.integers(len(TOKENS)))] + content[place:]


def replace_word(content: bytes, rng: np.random.Generator) -> bytes:
    """Replace a word or number by one of `TOKENS`, so that what is around it stays well-formed."""
    starts = [i for i in range(len(content)) if content[i : i + 1].isalnum()]
    if not starts:
        return insert_token(content, rng)
    start = end = starts[int(rng.integers(len(starts)))]
    while start > 0 and content[start - 1 : start].isalnum():
        start -= 1
    while end < len(content) and content[end : end + 1].isalnum():
        end += 1
    return content[:start] + TOKENS[int(rng.integers(len(TOKENS)))] + content[end:]


def noise(content: bytes, rng: np.random.Generator) -> bytes:
    """Replace everything behind some place by noise."""
    place = int(rng.integers(0, len(content) + 1))
    return content[:place] + rng.bytes(len(content) - place)


MUTATIONS: Sequence[Mutation] = (
    *(flip_bits, set_bytes, cut_off, cut_out, repeat, insert_token, noise),
    *(replace_word, replace_word),
)


def damaged(content: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """Return content damaged in one to three ways, and which."""
    chosen = rng.choice(len(MUTATIONS), int(rng.integers(1, 4)))
    for index in chosen:
        content = MUTATIONS[int(index)](content, rng)
    return " and ".join(MUTATIONS[int(i)].__name__ for i in chosen), content
