"""The labels of AffectNet's npy release: a file of 130 bytes for each of 290,000 images.

See `emodc.data.readers.affectnet`. A file ``N_exp.npy`` holds the code of image N as an array
without
dimensions: a string of one or two characters ("<U1", "<U2") or an integer.
"""

import hashlib
import logging
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emodc.faces.listing import is_ignored
from emodc.support.cache import cache_folder, cached_array
from emodc.support.files import one_line
from emodc.support.text import printable

_log = logging.getLogger(__name__)

LAST_CODE = 10
"""Codes are 0 to 10."""

CODE_OF = {str(code).encode(): code for code in range(LAST_CODE + 1)}
"""By how it is written, each code."""

_LABEL_END = "_exp.npy"
_LABEL = np.dtype([("code", np.uint8)])
_LONGEST = 1024  # bytes read of a file
# A header as numpy writes it. Not by numpy's own reader, which evaluates the text as Python.
_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00(?P<length>..)\{'descr': '(?P<type>[<>|][iuU]\d{1,2})', "
    rb"'fortran_order': (?:True|False), 'shape': \((?:1,)?\), \} *\n?",
    re.DOTALL,
)
# A pipe is not waited for: it has no content.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_READERS = 8  # threads, which mostly wait for the disk


def read_labels(annotations: Path) -> tuple[list[str], NDArray[np.uint8]]:
    """Read the labels of a folder, the first time from its files and then from the cache.

    They are read anew when the names in the folder or its time of change differ; a file that is
    changed in place is not noticed.

    Args:
        annotations: the folder.

    Returns:
        The names N of the images, numbers in their order, and (N,) uint8 codes.

    Raises:
        ValueError: there is no label, or a file does not hold one; the message names it.
    """
    names = (name for name in list_names(annotations) if name.endswith(_LABEL_END))
    stems = sorted((n.removesuffix(_LABEL_END) for n in names), key=lambda n: (len(n), n))
    if not stems:
        raise ValueError(f"{annotations}: holds no *{_LABEL_END}; unpack the whole archive")
    state = [str(annotations.resolve()), str(annotations.stat().st_mtime_ns), *stems]
    key = hashlib.sha256(os.fsencode("\n".join(state))).hexdigest()[:16]
    file = cache_folder() / "affectnet" / f"{key}.npy"
    rows = cached_array(file, _LABEL, lambda: _read_files(annotations, stems))
    return stems, rows["code"]


def list_names(folder: Path) -> list[str]:
    """Return the names in a folder, in any order, without hidden ones.

    Raises:
        ValueError: it cannot be listed.
    """
    try:
        # A million names: `Path.iterdir` would make an object of each.
        return [name for name in os.listdir(folder) if not is_ignored(name)]  # noqa: PTH208
    except OSError as error:
        raise ValueError(f"{folder}: cannot list this folder ({error.strerror})") from error


def _read_files(annotations: Path, stems: Sequence[str]) -> NDArray[np.void]:
    _log.info("reading %s annotation files in %s, once", f"{len(stems):,}", annotations)
    folder = str(annotations)
    code_of: dict[bytes, int] = {}  # all the files together have a dozen different contents

    def read(batch: Sequence[str]) -> list[int]:
        codes: list[int] = []
        for stem in batch:
            path = f"{folder}/{stem}{_LABEL_END}"
            content = _read_start(path)
            if content not in code_of:
                code_of[content] = _parse(content, path)
            codes.append(code_of[content])
        return codes

    batches = [stems[i : i + 512] for i in range(0, len(stems), 512)]
    with ThreadPoolExecutor(_READERS) as pool:
        codes = [code for batch in pool.map(read, batches) for code in batch]
    return np.array(codes, dtype=np.uint8).view(_LABEL)


def _read_start(path: str) -> bytes:
    """Return the first bytes of a file, in a fifth of the time that `Path.read_bytes` takes."""
    try:
        handle = os.open(path, _FLAGS)
        try:
            return os.read(handle, _LONGEST)
        finally:
            os.close(handle)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error


def _parse(content: bytes, path: str) -> int:
    """Return the code that a file holds; nothing is ever unpickled."""
    try:
        match = _HEADER.match(content)
        if match is None:
            raise ValueError("not the header of an array of one number or text")
        value = _value(
            match["type"].decode(), content[10 + int.from_bytes(match["length"], "little") :]
        )
        if value.encode() not in CODE_OF:
            raise ValueError(f"holds '{printable(value[:20])}'")
    except (ValueError, TypeError) as error:  # TypeError: numpy has no such type
        raise ValueError(
            f"{path}: not a code 0 to {LAST_CODE} in npy format ({one_line(error)}); restore the "
            "file from the release"
        ) from error
    return CODE_OF[value.encode()]


def _value(kind: str, content: bytes) -> str:
    """Return the number or text of a type such as "<U1"; numpy fails at what is no character."""
    if kind[1] != "U":
        return str(np.frombuffer(content, kind, count=1)[0])
    size = 4 * int(kind[2:])
    if len(content) < size:
        raise ValueError("the file ends before its text")
    coding = "utf-32-be" if kind[0] == ">" else "utf-32-le"
    return content[:size].decode(coding).rstrip("\0")
