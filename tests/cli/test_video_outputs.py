from collections.abc import Iterator

import numpy as np

from emodc.cli.video_outputs import Persons, cues, lines, marked
from emodc.faces.frames import Frame, Selection
from emodc.inference.prediction import VideoPrediction


def row(frame: int, person: int | None, label: str = "anger", p: float = 0.8) -> VideoPrediction:
    if person is None:
        return VideoPrediction(frame, frame / 10, None, "no_face")
    other = "fear" if label == "anger" else "anger"
    shares = {name: {label: p, other: 1 - p}[name] for name in ("anger", "fear")}
    box = (10.0, 10.0, 40.0, 50.0)
    return VideoPrediction(
        frame, frame / 10, person, "ok", box=box, label=label, probabilities=shares
    )


ROWS = [
    *(row(0, 1), row(1, 1, p=0.6), row(1, 2, "fear"), row(2, 1, "fear"), row(2, 2, "fear")),
    *(row(3, None), row(4, 2, "fear")),
]


def test_a_subtitle_lasts_as_long_as_the_answer() -> None:
    found = sorted((c.speaker, round(c.start, 3), round(c.end, 3), c.text) for c in cues(ROWS))
    assert found == [
        ("person 1", 0.0, 0.2, "anger (70%)"),
        ("person 1", 0.2, 0.3, "fear (80%)"),
        ("person 2", 0.1, 0.3, "fear (80%)"),
        ("person 2", 0.4, 0.9, "fear (80%)"),
    ]
    assert list(cues([])) == []


def test_a_line_for_every_person() -> None:
    found = lines(ROWS)
    assert {person: line.times.tolist() for person, line in found.items()} == {
        1: [0.0, 0.1, 0.2],
        2: [0.1, 0.2, 0.4],
    }
    np.testing.assert_allclose(found[1].probabilities[1], [0.6, 0.4], atol=1e-6)


class Film:
    """Ten black frames a second."""

    name, size = "film", (64, 64)
    duration: float | None = 0.6

    def frames(self, selection: Selection, since: float | None = None) -> Iterator[Frame]:
        for number in range(6):
            if number / 10 >= selection.start:
                yield Frame(number, number / 10, np.zeros((64, 64, 3), np.uint8))


def test_frames_that_were_not_looked_at_show_the_faces_of_the_last_one() -> None:
    looked_at = [row(1, 1), row(3, None)]
    found = [(time, bool(image.any())) for time, image in marked(looked_at, Film(), Selection())]
    assert found == [(0, False), (0.1, True), (0.2, True), (0.3, False), (0.4, False), (0.5, False)]
    later = [time for time, _ in marked(looked_at, Film(), Selection(start=0.2))]
    assert later == [0.2, 0.3, 0.4, 0.5]


def test_persons_are_counted() -> None:
    persons = Persons()
    for item in ROWS:
        persons.add(item)
    assert persons.summary() == "2 persons in 5 frames"
