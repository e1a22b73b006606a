"""Checking a dataset: every image decoded, every count compared.

All rows are looked at, labeled or not, in the splits of the owners. What is found is either "off",
something to mend before a figure is believed, or a "note", something to know:

=======================  ========  ===========================================================
kind                     severity  what
=======================  ========  ===========================================================
``unopened``             off       the loader refuses the dataset
``unreadable``           off       images that are missing or cannot be decoded
``attributes``           off       images whose attributes (gender, ...) cannot be read
``test_in_train``        off       images of test that are in train as well
``test_in_train_known``  note      the same where the loader leaves those rows of train out of
                                   training: `Release.copied`
``test_in_validation``   off       images of test that are in validation as well; a note where
                                   the loader has looked for copies, so that it is the owners' doing
``official_counts``      note      counts that are not the published ones; off if that is asked
``validation_in_train``  note      images of validation that are in train as well
``copies_inside``        note      images that repeat another of their split
``different_labels``     note      one image that carries several labels
``near_copies``          note      near-copies in different splits: `emodc.data.duplicates`
``blank``                note      images that show nothing
``unlabeled``           note      rows without one of the classes
``skipped``              note      files among the images that are not read, and why
``unlisted``             note      images that no annotation mentions
=======================  ========  ===========================================================
"""

from collections import Counter
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emodc.data import findings
from emodc.data.duplicates import Prints, near_pairs, take_prints
from emodc.data.face_data import SPLITS
from emodc.data.release import Release
from emodc.support.timing import Progress, unheard

_COMMONEST = 5

# By name (validation_in_train, test_in_train, test_in_validation): the split in which an image
# was seen before, and the one that holds it again.
_ACROSS = {f"{held}_in_{seen}": (seen, held) for seen, held in combinations(SPLITS, 2)}

_Rows = NDArray[np.int64]


def check(
    release: Release, *, official: bool = False, progress: Progress = unheard
) -> dict[str, Any]:
    """Decode every image of a dataset and report what is in it and what is wrong with it.

    Args:
        release: the dataset.
        official: a count that differs from the published one is off, not a note.
        progress: called as the images are decoded.

    Returns:
        Ready for JSON: ``data``; ``classes``; ``ok``, whether nothing is off; ``splits``, counts
        of all rows and the published counts; ``sizes`` in pixels, None without a readable
        image; ``copies`` and ``near_copies``; ``unreadable``, each image with its reason;
        ``skipped``, each file that is not read with its reason;
        ``notes`` of the loader; and ``findings``, each with ``kind``, ``severity``, ``count``,
        ``message`` and up to ten ``examples``: ids, or pairs of ids.

        Of ``copies``, ``inside`` counts how many images of a split repeat another one of it,
        and ``across`` how many images of one split are in another, too; ``with_another_label``
        counts those of them that carry a label their copies do not.
    """
    prints = take_prints(release.reader, range(len(release)), progress)
    copies, near = _copies(release, prints), _near_copies(release, prints)
    splits = {split: _counts(release, split) for split in SPLITS}
    found = [
        *findings.unreadable(release, prints),
        *findings.attributes(release),
        *findings.test_seen(release, prints),
        *findings.official(splits, official),
        *findings.repeated(release, prints, copies),
        *findings.near(near),
        *findings.remarks(release, prints),
    ]
    return {
        "data": release.name,
        "classes": list(release.label_set.classes),
        "ok": all(finding["severity"] != "off" for finding in found),
        "splits": splits,
        "sizes": _sizes(prints),
        "copies": copies,
        "near_copies": near,
        "unreadable": [
            {"id": release.ids[number], "reason": reason}
            for number, reason in prints.errors.items()
        ],
        "skipped": [{"file": file, "reason": why} for file, why in release.skipped.items()],
        "notes": dict(release.notes),
        "findings": found,
    }


def refusal(name: str, reason: str) -> dict[str, Any]:
    """Return the report on a dataset that its loader refuses: ``data``, ``ok``, ``findings``."""
    return {"data": name, "ok": False, "findings": [findings.finding("unopened", True, 1, reason)]}


def _counts(release: Release, split: str) -> dict[str, Any]:
    labels = release.labels[release.rows(split)]
    counts = np.bincount(labels[labels >= 0], minlength=len(release.label_set)).tolist()
    return {
        "owners_name": release.owners_names.get(split, split),
        "total": len(labels),
        "unlabeled": int((labels < 0).sum()),
        "classes": dict(zip(release.label_set.classes, counts, strict=True)),
        "official": dict(release.official.get(split, {})),
    }


def _sizes(prints: Prints) -> dict[str, Any] | None:
    sizes = prints.sizes[prints.readable]
    if not len(sizes):
        return None
    commonest = Counter(map(tuple, sizes.tolist())).most_common(_COMMONEST)
    ranges = {
        side: {"min": int(v.min()), "median": float(np.median(v)), "max": int(v.max())}
        for side, v in (("width", sizes[:, 1]), ("height", sizes[:, 0]))
    }
    return ranges | {
        "commonest": [{"width": w, "height": h, "images": n} for (h, w), n in commonest]
    }


def _copies(release: Release, prints: Prints) -> dict[str, Any]:
    rows, first = findings.readable_rows(release, prints), prints.first
    labeled = {split: part[release.labels[part] >= 0] for split, part in rows.items()}
    # One number for an image with a label: the same image with two labels has two.
    judged = first * len(release.label_set) + release.labels

    def inside(part: _Rows, known: _Rows) -> dict[str, int]:
        return {
            "images": len(part) - len(np.unique(first[part])),
            "with_another_label": len(np.unique(judged[known])) - len(np.unique(first[known])),
        }

    def across(seen: str, held: str) -> dict[str, int]:
        known, asked = labeled[seen], labeled[held]
        other = np.isin(first[asked], first[known]) & ~np.isin(judged[asked], judged[known])
        copied = np.isin(first[rows[held]], first[rows[seen]])
        return {"images": int(copied.sum()), "with_another_label": int(other.sum())}

    return {
        "inside": {split: inside(rows[split], labeled[split]) for split in SPLITS},
        "across": {name: across(*pair) for name, pair in _ACROSS.items()},
    }


def _near_copies(release: Release, prints: Prints) -> dict[str, Any]:
    """Count the images of one split that have a near-copy, but no copy, in another."""
    pairs = near_pairs(prints)
    both_ways = np.concatenate([pairs, pairs[:, ::-1]])
    rows, first = findings.readable_rows(release, prints), prints.first
    found: dict[str, Any] = {"pairs": len(pairs), "across": {}, "examples": {}}
    for name, (seen, held) in _ACROSS.items():
        near = both_ways[np.isin(both_ways[:, 1], first[rows[seen]])]
        images = first[rows[held]]
        chosen = rows[held][np.isin(images, near[:, 0]) & ~np.isin(images, first[rows[seen]])]
        found["across"][name] = len(chosen)
        found["examples"][name] = [
            [release.ids[row], release.ids[rows[seen][first[rows[seen]] == other][0]]]
            for row in chosen[: findings.EXAMPLES]
            for other in near[near[:, 0] == first[row], 1][:1]
        ]
    return found
