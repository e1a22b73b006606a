"""FER+: the images of FER2013 with the votes of ten taggers.

A folder with ``fer2013.csv`` (see `emodc.data.readers.fer2013`) and ``fer2013new.csv``, whose rows
stand in the same order. The folder copy of FER2013 will not do: it has lost that order.

Source: Barsoum et al., "Training Deep Networks for Facial Expression Recognition with
Crowd-Sourced Label Distribution", ICMI 2016, and its code (the label rule).
"""

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emodc.data.readers.fer2013 import OFFICIAL, release_of
from emodc.data.readers.fer2013_rows import USAGES, is_folder_copy, read_rows, require_file
from emodc.data.release import Release
from emodc.labels import LabelSet
from emodc.support.parsing import bounded_int, read_text
from emodc.support.text import printable

_HEADER = (
    *("Usage", "Image name", "neutral", "happiness", "surprise", "sadness", "anger"),
    *("disgust", "fear", "contempt", "unknown", "NF"),
)
_MOST_VOTES = 1000  # there were ten taggers


def read_fer2013plus(folder: Path, *, name: str, label_set: LabelSet) -> Release:
    """Read FER2013 with the FER+ labels.

    Args:
        folder: holds ``fer2013.csv`` or ``fer2013.csv.gz``, and ``fer2013new.csv``.
        name: what the dataset is called.
        label_set: the first K columns of FER+: `BASIC7` or `BASIC8`.

    Returns:
        Images and ids as `read_fer2013` gives them, with the labels that `majority_labels`
        gives and the remaining votes.

    Raises:
        ValueError: a file is missing or malformed, or the two do not belong together; the
            message names file and line.
    """
    if is_folder_copy(folder):
        raise ValueError(
            f"{folder}: this is the folder copy of FER2013, which has lost the order of the rows "
            "that the FER+ labels go by; put the released fer2013.csv beside fer2013new.csv"
        )
    rows = read_rows(folder)
    votes = _read_votes(require_file(folder, "fer2013new.csv"), rows["usage"])
    labels, shares = majority_labels(votes, len(label_set))
    return release_of(rows, labels, name, label_set, OFFICIAL, shares)


def majority_labels(
    votes: NDArray[np.int64], num_classes: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Turn votes into labels by the rule of the FER+ authors (mode "majority").

    A lone vote is taken for a slip and dropped. Of what remains in all ten columns the
    winner must hold more than half, else the image has no label; nor has one whose winner
    is not among the first K columns ("unknown", "not a face").

    Args:
        votes: (N, 10) counts in the column order of ``fer2013new.csv``.
        num_classes: K, how many of the columns are classes.

    Returns:
        (N,) int64 labels, -1 where there is none, and (N, K) float32 shares of the remaining
        votes among the K classes, which sum to 1 in labeled rows.
    """
    kept = np.where(votes > 1, votes, 0)
    winner = kept.argmax(axis=1)
    clear = 2 * kept.max(axis=1) > kept.sum(axis=1)
    labels = np.where(clear & (winner < num_classes), winner, -1)
    shares = kept[:, :num_classes].astype(np.float32)
    return labels, shares / np.maximum(shares.sum(axis=1, keepdims=True), 1)


def _read_votes(file: Path, usage: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return (N, 10) votes; ``usage`` (N,) is what the pixel file says of the same rows."""
    lines = read_text(file).splitlines()
    votes: list[list[int]] = []
    number = 0
    try:
        for number, row in enumerate(csv.reader(lines), start=1):
            if number == 1:
                _check_header(row)
                continue
            if number - 2 >= len(usage):
                break
            votes.append(_parse_row(row, USAGES[usage[number - 2]]))
    except (ValueError, csv.Error) as error:
        raise ValueError(
            f"{file}, line {number}: {error}; restore the line from the released file"
        ) from error
    if len(lines) - 1 != len(usage):
        raise ValueError(
            f"{file}, line {len(lines)}: the file ends with {len(lines) - 1} rows, but the pixel "
            f"file beside it has {len(usage)}; take both files from the same release"
        )
    return np.array(votes, dtype=np.int64)


def _check_header(row: list[str]) -> None:
    if tuple(row) != _HEADER:
        raise ValueError(f"the header is '{','.join(row)[:60]}' instead of '{','.join(_HEADER)}'")


def _parse_row(row: list[str], usage: str) -> list[int]:
    if len(row) != len(_HEADER):
        raise ValueError(f"{len(row)} columns instead of {len(_HEADER)}")
    if row[0] != usage:
        raise ValueError(f"Usage '{row[0]}', but the pixel file has '{usage}' in this row")
    return [_votes(cell, name) for name, cell in zip(_HEADER[2:], row[2:], strict=True)]


def _votes(cell: str, name: str) -> int:
    try:
        return bounded_int(cell, 0, _MOST_VOTES)
    except ValueError:
        raise ValueError(
            f"'{printable(cell[:20])}' votes for {name}, which must be a number up to {_MOST_VOTES}"
        ) from None
