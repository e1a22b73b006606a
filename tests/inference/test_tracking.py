import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from emodc.faces.detector import Face, FaceDetector
from emodc.inference.flow import Flow
from emodc.inference.tracking import TrackedFace, Tracker, match, moved, overlap
from tests.clips import face as sample

MARKS = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])
STEP = 1 / 25
PAPER: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (240, 400, 3), dtype=np.uint8)


def a_face(x: float, y: float, side: float = 60, score: float = 0.9) -> Face:
    """A face whose center is at (x, y)."""
    box = (x - side / 2, y - side / 2, x + side / 2, y + side / 2)
    return Face(box, np.array(box[:2]) + MARKS * side, score)


class Scripted:
    """A detector that is told what there is in each frame, and counts how often it is asked."""

    def __init__(self, script: Callable[[int], list[Face]]) -> None:
        self.script, self.frame, self.asked = script, 0, 0

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        self.asked += 1
        return self.script(self.frame)


def follow(
    script: Callable[[int], list[Face]], frames: int, every: int = 1, step: float = STEP
) -> list[list[TrackedFace]]:
    """Track over frames that show nothing, so that every face must be detected."""
    detector = Scripted(script)
    tracker = Tracker(detector, every)
    blank = np.zeros((240, 400, 3), np.uint8)
    found = []
    for detector.frame in range(frames):
        found.append(tracker(blank, detector.frame * step))
    return found


def persons(found: list[list[TrackedFace]]) -> list[list[int]]:
    return [[face.person for face in faces] for faces in found]


def where(faces: list[TrackedFace], person: int) -> float:
    (box,) = (face.face.box for face in faces if face.person == person)
    return (box[0] + box[2]) / 2


def crossing(frame: int) -> list[Face]:
    """Two people walk past each other; for a while the nearer one hides the other."""
    left, right = a_face(60 + 7 * frame, 118), a_face(340 - 7 * frame, 122, side=56)
    faces = [right] if overlap(left, right) > 0.25 else [left, right]
    return faces if frame % 2 else faces[::-1]


def test_two_people_who_cross_keep_their_numbers() -> None:
    found = follow(crossing, 40)
    assert persons(found)[0] == persons(found)[-1] == [1, 2]
    hidden = [len(faces) for faces in found].count(1)
    assert hidden >= 3
    first = found[0][0].face.box[0] < 200  # whether person 1 is the one from the left
    start, end = (60, 60 + 7 * 39) if first else (340, 340 - 7 * 39)
    assert where(found[0], 1) == pytest.approx(start)
    assert where(found[-1], 1) == pytest.approx(end)


def test_two_photographs_that_cross_keep_their_numbers() -> None:
    """With the detector itself, and one face drawn over the other."""
    heads = sample("happiness", 110), sample("surprise", 100)

    def picture(frame: int) -> NDArray[np.uint8]:
        canvas = np.full((150, 420, 3), 120, np.uint8)
        for head, x in ((heads[0], 290 - 9 * frame), (heads[1], 20 + 9 * frame)):
            canvas[10 : 10 + len(head), x : x + len(head)] = head
        return canvas

    tracker = Tracker(FaceDetector(), detect_every=4)
    found = [tracker(picture(frame), frame * STEP) for frame in range(31)]
    assert persons(found)[0] == persons(found)[-1] == [1, 2]
    assert max(itertools.chain(*persons(found))) == 2
    for person in (1, 2):
        start, end = where(found[0], person), where(found[-1], person)
        assert abs(end - start) > 200


def test_people_are_told_apart_by_where_they_are_whatever_their_order() -> None:
    found = follow(lambda n: [a_face(100 + n, 80), a_face(300 - n, 160)][:: (-1) ** n], 20)
    assert persons(found) == [[1, 2]] * 20
    assert where(found[-1], 1) == pytest.approx(119)


def test_a_person_who_is_hidden_for_a_moment_comes_back_as_the_same() -> None:
    def script(frame: int) -> list[Face]:
        return [] if 10 <= frame < 25 else [a_face(60 + 4 * frame, 100)]

    found = follow(script, 40)
    assert [len(faces) for faces in found] == [1] * 10 + [0] * 15 + [1] * 15
    assert set(itertools.chain(*persons(found))) == {1}


def test_a_person_who_is_away_for_long_comes_back_as_another() -> None:
    found = follow(lambda n: [] if 10 <= n < 60 else [a_face(200, 100)], 70)
    assert [set(itertools.chain(*persons(part))) for part in (found[:10], found[60:])] == [{1}, {2}]


def test_few_frames_a_second_change_no_number() -> None:
    found = follow(lambda n: [a_face(200 + 40 * (-1) ** n, 100)] if n != 3 else [], 8, step=1.0)
    assert set(itertools.chain(*persons(found))) == {1}


def test_a_faint_face_goes_on_but_does_not_begin() -> None:
    found = follow(lambda n: [a_face(200, 100, score=0.9 if n == 5 else 0.45)], 10)
    assert [len(faces) for faces in found] == [0] * 5 + [1] * 5


def shifted(frame: int) -> NDArray[np.uint8]:
    return np.roll(PAPER, 3 * frame, axis=1)


def test_faces_are_followed_between_detections() -> None:
    detector = Scripted(lambda n: [a_face(100 + 3 * n, 100)])
    tracker = Tracker(detector, detect_every=5)
    for detector.frame in range(20):
        (found,) = tracker(shifted(detector.frame), detector.frame * STEP)
        expected = a_face(100 + 3 * detector.frame, 100)
        assert found.detected == (detector.frame % 5 == 0)
        np.testing.assert_allclose(found.face.box, expected.box, atol=0.5)
        np.testing.assert_allclose(found.face.landmarks, expected.landmarks, atol=0.5)
    assert detector.asked == 4


def test_a_lost_face_is_looked_for_at_once() -> None:
    detector = Scripted(lambda n: [a_face(100, 100)])
    tracker = Tracker(detector, detect_every=10)
    for detector.frame in range(4):
        tracker(PAPER, detector.frame * STEP)
    assert detector.asked == 1
    noise = np.random.default_rng(1).integers(0, 256, PAPER.shape, dtype=np.uint8)
    (found,) = tracker(noise, 4 * STEP)
    assert detector.asked == 2
    assert found.person == 2  # another scene: nobody can be known from the one before


def test_going_on_from_a_state_changes_nothing() -> None:
    def run(tracker: Tracker, detector: Scripted, frames: range) -> list[tuple[int, list[float]]]:
        rows = []
        for detector.frame in frames:
            for found in tracker(shifted(detector.frame), detector.frame * STEP):
                rows.append((found.person, found.face.landmarks.ravel().tolist()))
        return rows

    def script(n: int) -> list[Face]:
        return [a_face(100 + 3 * n, 100)] if n < 9 else []

    detector = Scripted(script)
    whole = run(Tracker(detector, 4), detector, range(20))
    for stop in (2, 5, 9, 13):
        first = Tracker(detector, 4)
        rows = run(first, detector, range(stop))
        second = Tracker(detector, 4)
        second.restore(first.state(), shifted(stop - 1))
        assert rows + run(second, detector, range(stop, 20)) == whole
    with pytest.raises(ValueError, match="state"):
        Tracker(detector).restore({"tracks": [{}]}, PAPER)


def test_pairs_are_those_of_least_total_cost() -> None:
    expected = [a_face(100, 100), a_face(130, 100)]
    found = [a_face(128, 100), a_face(165, 100)]
    # The nearest pair would leave the other two too far apart.
    assert match(expected, found, [0, 0]) == [(0, 0), (1, 1)]
    assert match(expected, [], [0, 0]) == []


def test_what_is_too_far_or_of_another_size_is_no_pair() -> None:
    assert match([a_face(100, 100)], [a_face(200, 100)], [0.0]) == []
    assert match([a_face(100, 100)], [a_face(200, 100)], [0.5]) == [(0, 0)]
    assert match([a_face(100, 100)], [a_face(100, 100, side=130)], [0.0]) == []


def test_landmarks_decide_where_boxes_do_not() -> None:
    straight = a_face(100, 100)
    turned = replace(straight, landmarks=straight.landmarks + np.array([12.0, 0.0]))
    assert match([straight, turned], [turned, straight], [0, 0]) == [(0, 1), (1, 0)]


def test_a_similarity_moves_box_and_landmarks() -> None:
    matrix = np.array([[2.0, 0.0, 10.0], [0.0, 2.0, -5.0]])
    face = moved(a_face(50, 40), matrix)
    assert face.box == pytest.approx((50, 15, 170, 135))
    np.testing.assert_allclose(face.landmarks, 2 * a_face(50, 40).landmarks + [10, -5])


def test_flow_sees_motion_and_what_is_lost() -> None:
    flow = Flow()
    box = (100.0, 60.0, 180.0, 140.0)
    assert flow.follow(PAPER, [box]) == ([None], 0.0)
    (matrix,), changed = flow.follow(shifted(1), [box])
    assert matrix is not None
    np.testing.assert_allclose(matrix, [[1, 0, 3], [0, 1, 0]], atol=0.1)
    assert changed > 0
    (matrix,), changed = flow.follow(np.zeros_like(PAPER), [box])
    assert matrix is None
    assert changed > 0.3


def test_impossible_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="from 1"):
        Tracker(Scripted(lambda n: []), 0)
