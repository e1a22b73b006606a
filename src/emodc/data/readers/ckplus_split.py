"""CK+: what is counted, and who is tested on; see `emodc.data.readers.ckplus`."""

import hashlib
from collections.abc import Mapping

CODES = ("neutral", "anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")
"""The class of each code 0..7."""

TEST_SHARE = 0.2
"""The share of all conceivable subjects that is tested on."""

LAST_FRAMES = 3
"""How many frames at the end of a sequence carry its class."""

SEQUENCES: Mapping[str, Mapping[str, int]] = {
    "train": dict(zip(CODES[1:], (39, 14, 46, 18, 50, 23, 65), strict=True)),
    "test": dict(zip(CODES[1:], (6, 4, 13, 7, 19, 5, 18), strict=True)),
}
"""Labeled sequences by split, counted in the list of all 327 that Emotion-FAN publishes."""


def is_tested(subject: str) -> bool:
    """Tell whether a subject, such as ``S005``, belongs to the test split."""
    digest = hashlib.sha256(subject.encode()).digest()
    return int.from_bytes(digest[:8], "big") < TEST_SHARE * 2**64


def official_counts(*, neutral: bool) -> dict[str, dict[str, int]]:
    """Return the counts that the last frames, and the first if asked for, add up to."""
    official: dict[str, dict[str, int]] = {}
    for split, sequences in SEQUENCES.items():
        official[split] = {name: LAST_FRAMES * number for name, number in sequences.items()}
        if neutral:
            official[split]["neutral"] = sum(sequences.values())
            official[split]["total"] = sum(official[split].values())
    return official
