import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from emodc.faces.listing import Skipped
from emodc.faces.sources import (
    SourceImage,
    Unusable,
    image_paths,
    read_source,
    source_name,
    sources,
)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "inner").mkdir()
    for name in ("10.png", "2.png", "a[1].jpg", "inner/3.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not an image")
    return tmp_path


def reason(source: Any) -> str:
    """Return why a source cannot be looked at: one line that can be printed."""
    assert isinstance(source, Unusable)
    with pytest.raises(ValueError, match=r".") as caught:
        read_source(source)
    assert str(caught.value) == source.reason
    assert source.reason.isprintable()
    assert len(source.reason) < 600
    return source.reason


def test_a_folder_stands_for_its_own_images(photos: Path) -> None:
    assert image_paths([photos]) == [photos / "2.png", photos / "10.png", photos / "a[1].jpg"]


def test_what_a_folder_holds_beside_images_is_told(photos: Path) -> None:
    told: list[Skipped] = []
    image_paths([photos], told.append)
    assert {item.file.name for item in told} == {"inner", "notes.txt"}
    told.clear()
    list(sources([str(photos)], told.append))
    assert len(told) == 2


def test_a_pattern_stands_for_the_files_that_match(photos: Path) -> None:
    assert image_paths([f"{photos}/*.png"]) == [photos / "2.png", photos / "10.png"]
    assert image_paths([f"{photos}/**/*.png"]) == [
        photos / "2.png",
        photos / "10.png",
        photos / "inner" / "3.png",
    ]
    assert photos / "inner" not in image_paths([f"{photos}/*"])
    assert image_paths([f"{photos}/[0-9].png", f"{photos}/in*/?.png"]) == [
        photos / "2.png",
        photos / "inner" / "3.png",
    ]


@pytest.mark.parametrize("pattern", ["**", "**/*", "**/**/*.png", "**/**/**/**/*.png", "*/*.png"])
def test_a_pattern_names_each_file_once_and_ends_in_loops_of_links(
    photos: Path, pattern: str
) -> None:
    for name in ("loop", "again"):
        (photos / "inner" / name).symlink_to(photos)
    found = [path for path in image_paths([f"{photos}/{pattern}"]) if isinstance(path, Path)]
    assert len(found) == len(set(found))
    assert photos / "inner" / "3.png" in found
    assert not [path for path in found if "loop" in path.parts]


def test_hidden_files_match_a_pattern_that_asks_for_them(photos: Path) -> None:
    for name in (".a.png", "._2.png", "Thumbs.db"):
        (photos / name).touch()
    assert len(image_paths([f"{photos}/*"])) == 4
    assert image_paths([f"{photos}/.*"]) == [photos / "._2.png", photos / ".a.png"]


def test_a_name_that_looks_like_a_pattern_is_a_file_if_it_exists(photos: Path) -> None:
    assert image_paths([str(photos / "a[1].jpg")]) == [photos / "a[1].jpg"]


def test_a_path_is_never_a_pattern(photos: Path) -> None:
    (photos / "photo1.png").touch()
    missing = photos / "photo[1].png"
    assert image_paths([missing]) == [missing]
    assert image_paths([str(missing)]) == [photos / "photo1.png"]


def test_a_file_stands_for_itself_even_if_missing(photos: Path) -> None:
    assert image_paths([photos / "none.jpg"]) == [photos / "none.jpg"]


def test_the_home_folder_is_known(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(photos))
    assert image_paths(["~/2.png"]) == [photos / "2.png"]
    monkeypatch.chdir(photos)
    Image.new("RGB", (4, 4)).save(photos / "~odd.png")
    assert image_paths(["~odd.png"]) == [Path("~odd.png")]


BASE64 = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("~nosuchuser/x.jpg", "no such user"),
        ("x" * 300 + ".jpg", "too long for a file name"),
        (BASE64 * 50, "give base64 as a data URI"),
        ("https://example.org/face.jpg", "a URL, which is not opened; download it"),
        ("HTTP://example.org/f?a=[1]", "a URL"),
        ("file:///tmp/a.jpg", "give the path"),
        ("s3://bucket/a.jpg", "a URL"),
        ("?", "no file matches this pattern"),
        ("[", "no file matches this pattern"),
        ("**", "no file matches this pattern"),
        ("a\0b.jpg", "null character"),
        ("a\0b*.jpg", "no file matches"),
        ("", "the path is empty"),
        ("data:image/png;base64,####", "not base64"),
        ("data:text/plain,hello", "accepted is data:image"),
        ("\x1b[2J*", r"\x1b[2J*: no file matches"),
    ],
)
def test_what_is_no_file_is_an_item_and_the_rest_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, says: str
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    good = np.zeros((4, 5, 3), np.uint8)
    first, second = sources([text, good])
    assert says in reason(first)
    assert source_name(first) is not None
    assert read_source(second).shape == good.shape


def test_an_empty_folder_is_an_item_too(photos: Path) -> None:
    (photos / "empty").mkdir()
    (photos / "texts").mkdir()
    (photos / "texts" / "a.txt").write_text("no image")
    empty, texts, good = image_paths([photos / "empty", photos / "texts", photos / "2.png"])
    assert "no images in this folder; for those in the folders inside" in reason(empty)
    assert "(skipped a.txt (not an image" in reason(texts)
    assert good == photos / "2.png"


def test_the_bytes_of_a_file_are_an_image(photos: Path) -> None:
    path = photos / "2.png"
    content = path.read_bytes()
    uri = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    with path.open("rb") as file:
        given: list[Any] = [content, bytearray(content), memoryview(content), uri, file]
        for one in [*given, io.BytesIO(content)]:
            (source,) = sources(one)
            assert source_name(source) is None
            np.testing.assert_array_equal(read_source(source), read_source(path))
    assert len(list(sources([content, uri]))) == 2
    with pytest.raises(ValueError, match="image in memory: not an image"):
        read_source(next(sources(b"hello")))


def test_a_file_that_cannot_be_read_from_is_an_item(photos: Path) -> None:
    closed = (photos / "2.png").open("rb")
    closed.close()
    with (photos / "notes.txt").open() as text:
        given: list[Any] = [closed, text]
        first, second = sources(given)
    assert "closed file" in reason(first)
    assert "open it in binary mode" in reason(second)


def test_what_sources_gave_can_be_given_again(photos: Path) -> None:
    once = list(sources([str(photos), (photos / "2.png").read_bytes(), "?"]))
    again = list(sources(once))
    assert again == once


def test_one_or_many_of_every_kind(photos: Path) -> None:
    rgb, gray = np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), np.uint8)
    image = Image.new("L", (5, 4))
    for one in (rgb, gray, image, photos / "2.png", str(photos / "2.png")):
        assert len(list(sources(one))) == 1
    mixed: list[SourceImage] = [str(photos), rgb, image, gray]
    assert len(list(sources(mixed))) == 3 + 3
    assert len(list(sources(np.zeros((6, 4, 5, 3), np.uint8)))) == 6
    assert len(list(sources(iter([rgb, rgb])))) == 2


@pytest.mark.parametrize("thing", [np.zeros(5, np.uint8), 7, [[1, 2], [3, 4]], object()])
def test_what_is_not_an_image_is_refused(thing: Any) -> None:
    with pytest.raises(ValueError, match="uint8 array of shape"):
        list(sources([thing]))


@pytest.mark.parametrize("thing", [7, None, np.zeros((), np.uint8)])
def test_what_is_neither_an_image_nor_a_list_is_refused(thing: Any) -> None:
    with pytest.raises(ValueError, match="uint8 array of shape"):
        list(sources(thing))


def test_a_face_crop_is_one_image_not_48() -> None:
    (source,) = sources(np.zeros((48, 48, 3), np.uint8))
    assert read_source(source).shape == (48, 48, 3)


def test_arrays_of_paths_are_lists_of_them(photos: Path) -> None:
    paths = np.array([str(photos / "2.png"), str(photos / "10.png")])
    assert list(sources(paths)) == [photos / "2.png", photos / "10.png"]


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
