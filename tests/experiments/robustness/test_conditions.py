import numpy as np
import pytest

from emodc.corruptions import CORRUPTIONS, SEQUENCES, SUITES, corrupt, sequence
from emodc.experiments.robustness.conditions import CLEAN, SUITE_NAMES, conditions_of
from emodc.faces.geometry import FER2013_GEOMETRY

FACE = np.random.default_rng(0).integers(0, 256, (20, 16), dtype=np.uint8)


def test_a_suite_is_all_its_corruptions_at_all_severities() -> None:
    found = conditions_of(["rafdb-c"], (5, 1), frames=3)
    assert found[0] == CLEAN
    assert [(c.name, c.severity) for c in found[1:]] == [
        (name, severity) for name in SUITES["rafdb-c"] for severity in (1, 5)
    ]


def test_suites_add_up_without_repetition() -> None:
    found = conditions_of([*SUITE_NAMES, "noise-blur"], (3,), frames=3)
    assert len(found) == 1 + len(CORRUPTIONS) + len(SEQUENCES)
    assert len({condition.file for condition in found}) == len(found)
    assert conditions_of([], (3,), frames=3) == (CLEAN,)


def test_faces_are_shown_as_the_corruptions_make_them() -> None:
    assert CLEAN.show(FACE, 0, 0, FER2013_GEOMETRY)[0] is FACE
    noise = conditions_of(["noise-blur"], (4,), frames=3)[1]
    (shown,) = noise.show(FACE, 7, 3, FER2013_GEOMETRY)
    assert np.array_equal(shown, corrupt(FACE, noise.name, 4, 7, 3))
    turning = conditions_of(["rafdb-p"], (4,), frames=3)[-1]
    frames = turning.show(FACE, 7, 3, FER2013_GEOMETRY)
    assert np.array_equal(np.stack(frames), sequence(FACE, turning.name, 3, 7, 3))


@pytest.mark.parametrize(
    ("suites", "severities", "reason"),
    [
        (["noise"], (1,), "known are noise-blur, rafdb-c, all, rafdb-p"),
        ([], (0,), "not 0"),
        ([], (), "not none"),
    ],
)
def test_unknown_names_are_refused(
    suites: list[str], severities: tuple[int, ...], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        conditions_of(suites, severities, frames=3)
