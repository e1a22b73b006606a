from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emodc.reports.colors import class_color
from emodc.reports.timeline import MOST, Line, save_timeline

pytest.importorskip("matplotlib", reason="needs the extra figures")
CLASSES = ("neutral", "happiness", "fear")


def line(frames: int, label: int, start: float = 0.0) -> Line:
    p = np.full((frames, 3), 0.05)
    p[:, label] = 0.9
    return Line(start + np.arange(frames) / 25, p)


def amount(path: Path, place: int) -> float:
    """Return the share of the picture in a class's color."""
    with Image.open(path) as image:
        return float((np.asarray(image.convert("RGB")) == class_color(place)).all(axis=2).mean())


def test_what_is_probable_fills_the_panel(tmp_path: Path) -> None:
    save_timeline(tmp_path / "a.png", {1: line(50, 1)}, CLASSES, "clip.mp4")
    assert amount(tmp_path / "a.png", 1) > 0.3 > 5 * amount(tmp_path / "a.png", 0)


def test_nothing_is_drawn_while_a_person_is_away(tmp_path: Path) -> None:
    first, second = line(25, 1), line(25, 1, start=9.0)
    both = Line(
        np.concatenate([first.times, second.times]),
        np.concatenate([first.probabilities, second.probabilities]),
    )
    save_timeline(tmp_path / "a.png", {1: both}, CLASSES, "clip.mp4")
    assert amount(tmp_path / "a.png", 1) < 0.2


def test_any_number_of_persons_and_frames(tmp_path: Path) -> None:
    save_timeline(tmp_path / "none.svg", {}, CLASSES, "clip")
    many = {n: line(1 + n, n % 3) for n in range(1, MOST + 4)}
    save_timeline(tmp_path / "many.svg", many, CLASSES, "clip")
    save_timeline(tmp_path / "long.svg", {1: line(20_000, 2)}, CLASSES, "clip")
    assert (tmp_path / "long.svg").stat().st_size < 600_000


def test_the_same_figure_gives_the_same_file(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        save_timeline(tmp_path / name, {1: line(9, 1)}, CLASSES, "clip")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end with \.png"):
        save_timeline(tmp_path / "a.bmp", {}, CLASSES, "clip")
