import pytest

from emodc.faces.frames import Selection


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"every": 0}, "from 1"),
        ({"rate": 0.0}, "more than 0"),
        ({"rate": 2.0, "every": 2}, "not both"),
        ({"start": -1.0}, "from 0"),
        ({"start": 5.0, "end": 5.0}, "after start"),
        ({"start": float("nan")}, "from 0"),
        ({"end": float("nan")}, "after start"),
    ],
)
def test_impossible_selections_are_refused(options: dict[str, float], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Selection(**options)  # type: ignore[arg-type]
