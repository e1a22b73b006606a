import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from emodc.faces.listing import (
    CLUTTER,
    HIDDEN,
    INSIDE,
    LINK,
    NOT_AN_IMAGE,
    list_files,
    list_folder,
    list_folders,
    natural_key,
    summary,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("10.png", "9.JPG", "a2.webp", "a10.webp", "notes.txt", "empty"):
        (tmp_path / name).touch()
    for name in (".DS_Store", "._9.jpg", "Thumbs.db", "desktop.ini", ".secret.png"):
        (tmp_path / name).touch()
    for inner in ("inner", ".hidden", "__MACOSX"):
        (tmp_path / inner).mkdir()
        (tmp_path / inner / "1.png").touch()
    (tmp_path / "inner" / "loop").symlink_to(tmp_path)
    return tmp_path


def relative(root: Path, paths: list[Path]) -> list[str]:
    return [path.relative_to(root).as_posix() for path in paths]


def test_images_are_listed_in_natural_order(folder: Path) -> None:
    flat = ["9.JPG", "10.png", "a2.webp", "a10.webp"]
    assert relative(folder, list_folder(folder).images) == flat
    assert relative(folder, list_folder(folder, recursive=True).images) == [*flat, "inner/1.png"]
    assert relative(folder, list_files(folder)) == [*flat, "empty", "notes.txt"]
    assert relative(folder, list_folders(folder)) == ["inner"]


def test_everything_else_is_named_with_its_reason(folder: Path) -> None:
    listing = list_folder(folder, recursive=True)
    found = {item.file.relative_to(folder).as_posix(): item.reason for item in listing.skipped}
    assert found == {
        **dict.fromkeys((".DS_Store", "._9.jpg", "Thumbs.db", "desktop.ini", "__MACOSX"), CLUTTER),
        **dict.fromkeys((".secret.png", ".hidden"), HIDDEN),
        **dict.fromkeys(("notes.txt", "empty"), NOT_AN_IMAGE),
        "inner/loop": LINK,
    }
    (flat,) = (item for item in list_folder(folder).skipped if item.file.name == "inner")
    assert flat.reason == INSIDE
    told = summary(listing.skipped, folder)
    assert "empty and 1 more (not an image in a supported format)" in told
    assert "inner/loop (a link to a folder, which is not followed)" in told


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "AVIF"])
@pytest.mark.parametrize("name", ["photo", "photo.dat", "photo.jpe_"])
def test_what_a_file_holds_decides_whatever_it_is_called(
    tmp_path: Path, kind: str, name: str
) -> None:
    Image.new("RGB", (16, 16), "red").save(tmp_path / name, format=kind)
    assert list_folder(tmp_path).images == [tmp_path / name]


@pytest.mark.parametrize(
    "content",
    [
        b"BMW is a car, and P3 was a plane",
        b"P6 was a model",
        b"\0\0\0\x18ftypisom\0\0\0\0isomavc1",
        b"%PDF-1.7",
        b"RIFF\0\0\0\0WAVEfmt ",
        b"",
    ],
)
def test_texts_films_and_sounds_are_no_images(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert not list_folder(tmp_path).images


def test_a_pipe_without_suffix_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert [item.reason for item in list_folder(tmp_path).skipped] == [NOT_AN_IMAGE]


def test_listing_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, says in (
        ("missing", "no such folder"),
        ("file", "not a folder"),
        ("x" * 300, "no s"),
    ):
        with pytest.raises(ValueError, match=says):
            list_folder(tmp_path / name)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text("aB0129_", max_size=6), unique=True))
def test_natural_order_does_not_depend_on_the_order_before(texts: list[str]) -> None:
    backwards = texts[::-1]
    assert sorted(texts, key=natural_key) == sorted(backwards, key=natural_key)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_numbers_are_ordered_by_value(one: int, two: int) -> None:
    assert (natural_key(f"a{one}b") < natural_key(f"a{two}b")) == (one < two)


def test_thousands_of_digits_are_ordered_too() -> None:
    names = ["9" * 5000, "1" + "0" * 5000, "7", "a", "007"]
    assert sorted(names, key=natural_key) == ["007", "7", "9" * 5000, "1" + "0" * 5000, "a"]
