"""What is found when a dataset is checked: see the table in `emodc.data.check`."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emodc.data.duplicates import Prints
from emodc.data.face_data import SPLITS, OnDemand
from emodc.data.release import Release

EXAMPLES = 10
"""How many examples a finding has at most."""


def finding(
    kind: str, off: bool, count: int, message: str, examples: Sequence[Any] = ()
) -> dict[str, Any]:
    """Return one finding, ready for JSON."""
    return {
        "kind": kind,
        "severity": "off" if off else "note",
        "count": count,
        "message": message,
        "examples": list(examples[:EXAMPLES]),
    }


def readable_rows(release: Release, prints: Prints) -> dict[str, NDArray[np.int64]]:
    """Return the readable rows of each split."""
    readable = prints.readable
    return {split: (rows := release.rows(split))[readable[rows]] for split in SPLITS}


def unreadable(release: Release, prints: Prints) -> Iterator[dict[str, Any]]:
    """Tell which images cannot be read."""
    if prints.errors:
        message = f"{_images(len(prints.errors))} missing or unreadable"
        ids = [release.ids[number] for number in prints.errors]
        yield finding("unreadable", True, len(ids), message, ids)


def attributes(release: Release) -> Iterator[dict[str, Any]]:
    """Read the attributes that are read on demand, each from a file of its image."""
    reasons: dict[int, str] = {}
    for values in release.attributes.values():
        for row in range(len(values)) if isinstance(values, OnDemand) else ():
            try:
                values[row]
            except ValueError as error:
                reasons[row] = str(error)
    if reasons:
        count = len(reasons)
        message = f"the attributes of {count:,} image{'s' * (count > 1)} cannot be read"
        yield finding("attributes", True, count, message, list(reasons.values()))


def test_seen(release: Release, prints: Prints) -> Iterator[dict[str, Any]]:
    """Tell which images of test a model may have been trained or chosen on."""
    rows, first = readable_rows(release, prints), prints.first
    train, validation, test = (rows[split] for split in SPLITS)
    knows = release.copied is not None
    marked = np.zeros(len(train), np.bool_) if release.copied is None else release.copied[train]
    for kind, off, others, what in (
        ("test_in_train", True, train[~marked], "in train as well; delete them there"),
        ("test_in_train_known", False, train[marked], "in train as well, but not trained on there"),
        ("test_in_validation", not knows, validation, "in validation as well"),
    ):
        seen = test[np.isin(first[test], first[others])]
        if len(seen):
            message = f"{_images(len(seen), ' of test')} {what}"
            examples = [
                [release.ids[row], release.ids[others[first[others] == first[row]][0]]]
                for row in seen[:EXAMPLES]
            ]
            yield finding(kind, off, len(seen), message, examples)


def official(splits: Mapping[str, Any], off: bool) -> Iterator[dict[str, Any]]:
    """Compare the counts with the published ones."""
    differing = []
    for split, counts in splits.items():
        found = {"total": counts["total"], **counts["classes"]}
        differing += [
            f"{split} {name}: {found.get(name, 0):,} instead of {number:,}"
            for name, number in counts["official"].items()
            if found.get(name, 0) != number
        ]
    if differing:
        message = "not the published counts: " + "; ".join(differing)
        yield finding("official_counts", off, len(differing), message, differing)


def repeated(
    release: Release, prints: Prints, copies: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Tell which images are there twice, within a split or across train and validation."""
    across = copies["across"]["validation_in_train"]["images"]
    if across:
        message = f"{_images(across, ' of validation')} in train as well"
        yield finding("validation_in_train", False, across, message)
    inside = {split: found["images"] for split, found in copies["inside"].items()}
    if any(inside.values()):
        parts = ", ".join(f"{number:,} in {split}" for split, number in inside.items() if number)
        message = f"copies of another image of the same split: {parts}"
        yield finding("copies_inside", False, sum(inside.values()), message)
    labeled = np.flatnonzero(prints.readable & (release.labels >= 0))
    pairs = set(zip(prints.first[labeled].tolist(), release.labels[labeled], strict=True))
    several = [row for row, number in Counter(row for row, _ in pairs).items() if number > 1]
    if several:
        message = f"{_images(len(several))} there more than once, under different labels"
        ids = [release.ids[row] for row in sorted(several)]
        yield finding("different_labels", False, len(several), message, ids)


def near(near: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Tell which images have near-copies in another split."""
    found = {name: number for name, number in near["across"].items() if number}
    if found:
        parts = ", ".join(
            f"{number:,} of {name.replace('_', ' ')}" for name, number in found.items()
        )
        message = f"nearly the same images (re-encoded, resized, brightened): {parts}"
        share = -(-EXAMPLES // len(found))
        examples = [pair for name in found for pair in near["examples"][name][:share]]
        yield finding("near_copies", False, sum(found.values()), message, examples)


def remarks(release: Release, prints: Prints) -> Iterator[dict[str, Any]]:
    """Tell what is worth knowing: blank, unlabeled, skipped and unlisted images."""
    for kind, rows, what in (
        ("blank", np.flatnonzero(prints.blank), "blank"),
        ("unlabeled", np.flatnonzero(release.labels < 0), "without a label"),
    ):
        if len(rows):
            ids = [release.ids[row] for row in rows[:EXAMPLES]]
            yield finding(kind, False, len(rows), f"{_images(len(rows))} {what}", ids)
    if release.skipped:
        reasons = Counter(release.skipped.values()).most_common()
        parts = ", ".join(f"{number:,} {reason}" for reason, number in reasons)
        ids = [f"{name}: {reason}" for name, reason in release.skipped.items()]
        message = f"not read, though among the images: {parts}"
        yield finding("skipped", False, len(ids), message, ids)
    if release.unlisted:
        count = len(release.unlisted)
        message = f"{_images(count)} not mentioned by any annotation"
        yield finding("unlisted", False, count, message, release.unlisted)


def _images(count: int, of: str = "") -> str:
    return f"1 image{of} is" if count == 1 else f"{count:,} images{of} are"
