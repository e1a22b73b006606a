import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from emodc.faces.detector import Face
from emodc.faces.frames import Frame, Selection
from emodc.faces.video import VideoFile
from emodc.inference.classifier import EmotionClassifier
from emodc.inference.prediction import VideoPrediction
from emodc.inference.video import VideoAnalysis, VideoSettings
from emodc.inference.video_rows import VideoRows, video_rows
from emodc.model.model import Model
from tests.clips import face as sample
from tests.clips import write_clip

PAPER = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)
MARKS = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])


class OneFace:
    """Finds a face at the same place in every image that is not black."""

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        if image.max() == 0:
            return []
        return [Face((40, 20, 90, 70), np.array([40, 20]) + 50 * MARKS, 0.9)]


class Film:
    """Frames in memory; counts how many were asked for."""

    name, size = "film", (160, 90)

    def __init__(self, images: Iterator[NDArray[np.uint8]], duration: float | None = 2.0) -> None:
        self.images, self.duration, self.asked = images, duration, 0

    def frames(self, selection: Selection, since: float | None = None) -> Iterator[Frame]:
        for number, image in enumerate(self.images):
            if number / 25 >= (since or 0.0):
                self.asked += 1
                yield Frame(number, number / 25, image)


def images(count: int = 50) -> list[NDArray[np.uint8]]:
    return [
        np.zeros_like(PAPER) if n % 10 == 9 else np.roll(PAPER, n, axis=1) for n in range(count)
    ]


def analysis(model: Model, count: int = 50) -> VideoAnalysis:
    return VideoAnalysis(model, OneFace(), Film(iter(images(count))), VideoSettings(draws=2))


def test_every_frame_has_a_row(tiny_model: Model) -> None:
    rows = [row for batch in analysis(tiny_model).batches() for row in batch]
    assert [row.frame for row in rows] == list(range(50))
    assert [row.time for row in rows] == [n / 25 for n in range(50)]
    assert {row.status for row in rows if row.frame % 10 == 9} == {"no_face"}
    for row in rows[:9]:
        assert (row.status, row.person, row.draws) == ("ok", 1, 2)
        assert tuple(row.probabilities or ()) == tiny_model.label_set.classes
        assert sum((row.probabilities or {}).values()) == pytest.approx(1)
    assert [row.frame for row in rows[:9] if row.detection_score is not None] == [0, 5]
    for row in rows:
        if row.status == "no_face":
            assert (row.person, row.box, row.probabilities) == (None, None, None)


def test_going_on_gives_the_same_rows(tiny_model: Model, tmp_path: Path) -> None:
    whole = [row for batch in analysis(tiny_model, 120).batches() for row in batch]
    file = VideoRows(tmp_path / "rows", {"seed": 0})
    first = analysis(tiny_model, 120)
    for batch in itertools.islice(first.batches(), 2):
        file.add(batch, first.state())
    with file.path.open("a") as stream:
        stream.write('{"rows": [{"frame": 3')  # a killed process was writing
    file = VideoRows(tmp_path / "rows", {"seed": 0})
    done = len(list(file))
    assert 0 < done < 120
    second = analysis(tiny_model, 120)
    assert file.state is not None
    second.resume(file.state)
    for batch in second.batches():
        file.add(batch, second.state())
    rows = list(file)
    assert [(row.frame, row.person, row.label, row.box) for row in rows] == [
        (row.frame, row.person, row.label, row.box) for row in whole
    ]
    for row, expected in zip(rows, whole, strict=True):
        if expected.probabilities is not None:
            assert row.probabilities == pytest.approx(dict(expected.probabilities), rel=1e-4)


def test_rows_of_another_analysis_are_refused(tmp_path: Path) -> None:
    VideoRows(tmp_path / "rows", {"seed": 0, "weights": "a"})
    with pytest.raises(ValueError, match=r"rows: begun with another seed; delete it"):
        VideoRows(tmp_path / "rows", {"seed": 1, "weights": "a"})
    (tmp_path / "rows").write_text('{"seed": 0}\n{"rows": 3}\n')
    with pytest.raises(ValueError, match="damaged in line 2"):
        VideoRows(tmp_path / "rows", {"seed": 0})


def test_the_file_is_one_process_s_and_goes_when_nothing_is_left_to_do(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    with video_rows(path, {}):
        assert path.exists()
        with pytest.raises(ValueError, match="another process is at it"), video_rows(path, {}):
            pass
    assert list(tmp_path.iterdir()) == []

    def fail() -> None:
        with video_rows(path, {}):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == [path]


def test_a_row_comes_back_from_json(tiny_model: Model) -> None:
    for batch in analysis(tiny_model, 12).batches():
        for row in batch:
            assert VideoPrediction.from_dict(json.loads(json.dumps(row.to_dict()))) == row
    with pytest.raises(ValueError, match="not a row"):
        VideoPrediction.from_dict({"frame": 1})


def test_a_video_of_any_length_is_streamed(tiny_model: Model) -> None:
    film = Film(itertools.repeat(PAPER))
    batches = VideoAnalysis(tiny_model, OneFace(), film, VideoSettings(draws=1)).batches()
    for _ in range(3):
        next(batches)
    assert film.asked <= 3 * 16


def test_a_camera_is_answered_at_once(tiny_model: Model) -> None:
    film = Film(itertools.repeat(PAPER), duration=None)
    batches = VideoAnalysis(tiny_model, OneFace(), film, VideoSettings(draws=1)).batches()
    assert [len(next(batches)) for _ in range(3)] == [1, 1, 1]
    assert film.asked == 3


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photograph that moves to the right."""
    frames = []
    for number in range(12):
        canvas = np.full((120, 200, 3), 120, np.uint8)
        canvas[10:106, 10 + 4 * number : 106 + 4 * number] = sample("happiness", 96)
        frames.append(canvas)
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write_clip(path, frames, [n / 25 for n in range(12)])


def test_a_video_file_is_classified(tiny_model: Model, clip: Path) -> None:
    classifier = EmotionClassifier(tiny_model)
    rows = list(classifier.predict_video(clip, draws=1, every=2, detect_every=3))
    assert [row.frame for row in rows] == [0, 2, 4, 6, 8, 10]
    assert {row.person for row in rows} == {1}
    starts = [row.box[0] for row in rows if row.box is not None]
    np.testing.assert_allclose(np.diff(starts), 8, atol=2.5)
    assert [row.detection_score is not None for row in rows] == [True, False, False] * 2


def test_wrong_options_are_refused(tiny_model: Model, clip: Path, tmp_path: Path) -> None:
    classifier = EmotionClassifier(tiny_model)
    with pytest.raises(TypeError, match="'step': give every, rate"):
        classifier.predict_video(clip, step=3)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="not both"):
        classifier.predict_video(clip, every=2, rate=3.0)
    with pytest.raises(ValueError, match="no such file"):
        classifier.predict_video(tmp_path / "none.mp4")


def test_a_video_that_changed_is_not_gone_on_with(tiny_model: Model, clip: Path) -> None:
    classifier = EmotionClassifier(tiny_model)
    settings = VideoSettings(selection=Selection(every=4), draws=1)
    first = classifier.video_analysis(VideoFile(clip), settings)
    list(first.batches())
    second = classifier.video_analysis(VideoFile(clip), settings)
    second.resume({**first.state(), "time": 0.123})
    with pytest.raises(ValueError, match=r"no frame at 0\.123 s"):
        list(second.batches())
