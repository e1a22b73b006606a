from emodc.support.timing import Cost, duration, seconds_of


def test_the_first_call_is_not_timed() -> None:
    calls: list[None] = []
    assert seconds_of(lambda: calls.append(None), repeats=3) >= 0
    assert len(calls) == 4


def test_a_cost_is_told_in_one_line() -> None:
    cost = Cost("tiny", {"cells": 3, "images": 12_345}, 150.0)
    assert str(cost) == "tiny: 3 cells, 12,345 images, about 2.5 minutes"
    assert str(Cost("tiny", {"cells": 0}, 0.0)) == "tiny: finished"


def test_durations_are_told_in_the_unit_that_people_would_use() -> None:
    assert [duration(s) for s in (0.4, 59, 60, 5399, 5400, 36_000)] == [
        "0 seconds",
        "59 seconds",
        "1.0 minutes",
        "90.0 minutes",
        "1.5 hours",
        "10.0 hours",
    ]
