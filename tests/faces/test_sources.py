from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from emodc.faces.sources import SourceImage, image_paths, read_source, sources


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "inner").mkdir()
    for name in ("10.png", "2.png", "a[1].jpg", "inner/3.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not an image")
    return tmp_path


def test_a_folder_stands_for_its_own_images(photos: Path) -> None:
    assert image_paths([photos]) == [photos / "2.png", photos / "10.png", photos / "a[1].jpg"]


def test_a_pattern_stands_for_the_files_that_match(photos: Path) -> None:
    assert image_paths([f"{photos}/*.png"]) == [photos / "2.png", photos / "10.png"]
    assert photos / "inner" / "3.png" in image_paths([photos / "**" / "*.png"])
    assert photos / "inner" not in image_paths([f"{photos}/*"])


def test_a_name_that_looks_like_a_pattern_is_a_file_if_it_exists(photos: Path) -> None:
    assert image_paths([photos / "a[1].jpg"]) == [photos / "a[1].jpg"]


def test_a_file_stands_for_itself_even_if_missing(photos: Path) -> None:
    assert image_paths([photos / "none.jpg"]) == [photos / "none.jpg"]


def test_the_home_folder_is_known(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(photos))
    assert image_paths(["~/2.png"]) == [photos / "2.png"]


def test_nothing_to_look_at_is_an_error(photos: Path) -> None:
    empty = photos / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="no images in this folder"):
        image_paths([empty])
    with pytest.raises(ValueError, match="no file matches"):
        image_paths([f"{photos}/*.webp"])


def test_one_or_many_of_every_kind(photos: Path) -> None:
    rgb, gray = np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), np.uint8)
    image = Image.new("L", (5, 4))
    for one in (rgb, gray, image, photos / "2.png", str(photos / "2.png")):
        assert len(list(sources(one))) == 1
    mixed: list[SourceImage] = [str(photos), rgb, image, gray]
    assert len(list(sources(mixed))) == 3 + 3
    assert len(list(sources(np.zeros((6, 4, 5, 3), np.uint8)))) == 6
    assert len(list(sources(iter([rgb, rgb])))) == 2


@pytest.mark.parametrize(
    "thing",
    [
        np.zeros((4, 5, 3)),
        np.zeros((4, 5, 4), np.uint8),
        np.zeros((0, 5, 3), np.uint8),
        np.zeros(5, np.uint8),
        7,
        None,
    ],
    ids=["float", "four channels", "empty", "a row", "a number", "nothing"],
)
def test_what_is_not_a_image_is_refused(thing: Any) -> None:
    with pytest.raises(ValueError, match="uint8 array of shape"):
        list(sources([thing]))


def test_gray_becomes_rgb() -> None:
    gray = np.arange(20, dtype=np.uint8).reshape(4, 5)
    (source,) = sources(gray)
    assert np.array_equal(read_source(source), np.stack([gray] * 3, axis=2))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "CMYK", "I;16", "1"])
def test_a_pil_image_reads_like_its_file(tmp_path: Path, mode: str) -> None:
    rng = np.random.default_rng(0)
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 65536, (6, 5), dtype=np.uint16))
    else:
        image = Image.fromarray(rng.integers(0, 256, (6, 5, 4), dtype=np.uint8)).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "a.tiff"
    image.save(path, exif=exif, compression="tiff_lzw")
    with Image.open(path) as opened:
        pixels = read_source(opened)
    assert np.array_equal(pixels, read_source(path))
    assert pixels.shape == (5, 6, 3)


def test_a_pil_image_that_turns_out_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(
        path
    )
    path.write_bytes(path.read_bytes()[:1500])
    with Image.open(path) as opened, pytest.raises(ValueError, match="damaged"):
        read_source(opened)
