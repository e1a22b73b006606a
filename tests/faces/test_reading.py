import contextlib
import importlib.util
import io
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from emodc.faces.reading import decode_image, read_image, to_rgb

# Red, green / blue, white in blocks of 8: survives JPEG, and every turn of it is distinct.
QUARTERS = (
    np.array([[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (255, 255, 255)]], dtype=np.uint8)
    .repeat(8, axis=0)
    .repeat(8, axis=1)
)


def save(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        read_image(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "ppm", "gif", "webp"])
def test_formats_without_loss_come_back_exactly(tmp_path: Path, suffix: str) -> None:
    options = {"lossless": True} if suffix == "webp" else {}
    image = read_image(save(tmp_path / f"a.{suffix}", Image.fromarray(QUARTERS), **options))
    assert image.dtype == np.uint8
    assert image.flags.writeable
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(image, QUARTERS)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_turned_upright(tmp_path: Path, orientation: int) -> None:
    # How each orientation stores an image, written down apart from the code under test.
    stored = {
        1: QUARTERS,
        2: QUARTERS[:, ::-1],
        3: QUARTERS[::-1, ::-1],
        4: QUARTERS[::-1],
        5: QUARTERS.transpose(1, 0, 2),
        6: np.rot90(QUARTERS, 1),
        7: QUARTERS[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(QUARTERS, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(stored))
    path = save(tmp_path / "a.png", image, exif=exif)
    np.testing.assert_array_equal(read_image(path), QUARTERS)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "CMYK", "I;16"])
def test_an_uncompressed_tiff_is_turned_and_not_scrambled(tmp_path: Path, mode: str) -> None:
    gray = np.arange(30, dtype=np.uint8).reshape(6, 5) * 8
    deep = Image.fromarray(gray.astype(np.uint16) * 257)
    image = deep if mode == "I;16" else Image.fromarray(gray).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "a.tiff", image, exif=exif)
    np.testing.assert_array_equal(read_image(path)[:, :, 0], np.rot90(gray, -1))


def test_damaged_exif_does_not_cost_the_image(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", Image.fromarray(QUARTERS), exif=b"Exif\0\0II*\0\xff\xff")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert read_image(path).shape == (16, 16, 3)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "RGBA", "LA", "RGBX"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    suffix = "tiff" if mode in ("CMYK", "YCbCr", "RGBX") else "png"
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(QUARTERS).convert(mode))
    image = read_image(path)
    assert image.shape == (16, 16, 3)
    assert np.abs(image[-1, -1].astype(int) - 255).max() <= 2
    assert image[0, 0].min() < 128


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_become_white(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 2, 4))
    rgb = read_image(save(tmp_path / "a.png", image.convert(mode)))
    assert (rgb[:, :2] == 0).all()
    assert (rgb[:, 2:] == 255).all()


@pytest.mark.parametrize("suffix", ["png", "tiff", "pgm"])
def test_16_bits_are_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    gray = np.arange(256, dtype=np.uint16).reshape(16, 16)
    image = read_image(save(tmp_path / f"a.{suffix}", Image.fromarray(gray * 257)))
    np.testing.assert_array_equal(image, np.repeat(gray[:, :, None], 3, axis=2))


def test_16_bits_are_read_in_either_byte_order(tmp_path: Path) -> None:
    values = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    big = Image.frombytes("I;16B", (16, 16), values.astype(">u2").tobytes())
    np.testing.assert_array_equal(
        read_image(save(tmp_path / "big.tiff", big)),
        read_image(save(tmp_path / "little.tiff", Image.fromarray(values))),
    )


@pytest.mark.parametrize("top", [1.0, 255.0, 65535.0])
def test_float_images_are_scaled_by_their_range(tmp_path: Path, top: float) -> None:
    gray = np.arange(256, dtype=np.float32).reshape(16, 16)
    image = read_image(save(tmp_path / "a.tiff", Image.fromarray(gray / 255 * np.float32(top))))
    np.testing.assert_array_equal(image[:, :, 0], gray)


@pytest.mark.parametrize("value", [-1.0, 1e6, float("nan"), float("inf")])
def test_float_images_of_no_known_scale_are_refused(tmp_path: Path, value: float) -> None:
    values = np.full((4, 4), value, dtype=np.float32)
    assert "no known scale" in refusal(save(tmp_path / "a.tiff", Image.fromarray(values)))


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tiff"])
def test_an_animation_gives_its_first_frame(tmp_path: Path, suffix: str) -> None:
    first, second = Image.new("RGB", (8, 8), "white"), Image.new("RGB", (8, 8), "black")
    path = save(tmp_path / f"a.{suffix}", first, save_all=True, append_images=[second])
    assert (read_image(path) == 255).all()


def test_the_suffix_does_not_matter(tmp_path: Path) -> None:
    path = save(tmp_path / "really_a_png.jpg", Image.fromarray(QUARTERS), format="PNG")
    np.testing.assert_array_equal(read_image(path), QUARTERS)


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("hello, this is a text")
    (tmp_path / "empty.png").touch()
    (tmp_path / "vector.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    os.mkfifo(tmp_path / "pipe.png")
    assert "not an image" in refusal(tmp_path / "text.jpg")
    assert "empty" in refusal(tmp_path / "empty.png")
    assert "not an image" in refusal(tmp_path / "vector.eps")
    assert "regular file" in refusal(tmp_path / "pipe.png")
    assert "a folder" in refusal(tmp_path)
    assert "no such file" in refusal(tmp_path / "missing.png")
    with pytest.raises(ValueError, match=r"\d+ characters\).*File name too long"):
        read_image(tmp_path / ("long" * 100))


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tiff", "webp"])
def test_a_truncated_image_is_refused(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(noise))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "copy or export it again" in refusal(path)


@pytest.mark.parametrize(("width", "height"), [(10_001, 10_000), (60_000, 60_000)])
def test_a_huge_image_is_refused_before_it_is_decoded(
    tmp_path: Path, width: int, height: int
) -> None:
    # A header that promises the size, and no pixels: decoding would fail in another way.
    (tmp_path / "bomb.ppm").write_bytes(b"P6 %d %d 255\n" % (width, height))
    for action in ("ignore", "error"):
        with warnings.catch_warnings():
            warnings.simplefilter(action)
            assert "more than 100 megapixels" in refusal(tmp_path / "bomb.ppm")


def _encoded(suffix: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(QUARTERS).save(stream, suffix)
    return stream.getvalue()


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tiff", "webp"])
def test_a_image_in_memory_is_read_like_its_file(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {} if suffix in ("gif", "bmp") else {"exif": exif}
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(QUARTERS), **options)
    np.testing.assert_array_equal(decode_image(path.read_bytes(), "row 1"), read_image(path))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"hello, this is a text", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (b"P6 10001 10000 255\n", "more than 100 megapixels"),
        (b"P6 16 16 255\n...", "copy or export it again"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bad_image_in_memory_is_refused_by_name(content: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=f"^train/000007: .*{says}"):
        decode_image(content, "train/000007")


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    content=st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "WEBP"]).map(_encoded),
    end=st.integers(1, 2000),
    changes=st.lists(st.tuples(st.integers(24, 400), st.integers(0, 255)), max_size=4),
)
def test_damage_gives_a_image_or_a_value_error(
    tmp_path: Path, content: bytes, end: int, changes: list[tuple[int, int]]
) -> None:
    damaged = bytearray(content[:end])
    for place, value in changes:
        damaged[place % len(damaged)] = value
    path = tmp_path / "damaged"
    path.write_bytes(damaged)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(ValueError):
            image = read_image(path)
            assert image.dtype == np.uint8
            assert image.shape[2] == 3


def test_formats_beyond_the_common_ones_are_read(tmp_path: Path) -> None:
    image = Image.fromarray(QUARTERS)
    lossless = {"jp2": {"irreversible": False}, "j2k": {"irreversible": False}}
    for suffix in ("jp2", "j2k", "jpe", "mpo", "avif"):
        path = save(tmp_path / f"a.{suffix}", image, **lossless.get(suffix, {}))
        found = read_image(path).astype(int)
        assert np.abs(found[[0, -1], [0, -1]] - QUARTERS[[0, -1], [0, -1]]).max() < 20, suffix


def test_heic_is_read_or_its_remedy_named(tmp_path: Path) -> None:
    path = tmp_path / "a.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40))
    if importlib.util.find_spec("pillow_heif") is None:
        assert "need pillow-heif" in refusal(path)
        return
    assert "damaged" in refusal(path)
    import pillow_heif

    pillow_heif.from_pillow(Image.fromarray(QUARTERS.repeat(4, 0).repeat(4, 1))).save(path)
    found = read_image(path)
    assert found.shape == (64, 64, 3)
    assert np.abs(found[4, 4].astype(int) - (255, 0, 0)).max() < 40


@pytest.mark.parametrize(
    ("width", "height", "says"),
    [(100_000_000, 1, "65,535"), (1, 70_000, "65,535"), (20_000, 10_000, "megapixels")],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_extreme_shapes_are_refused_before_they_are_decoded(
    tmp_path: Path, width: int, height: int, says: str
) -> None:
    (tmp_path / "a.ppm").write_bytes(b"P6 %d %d 255\n" % (width, height))
    assert says in refusal(tmp_path / "a.ppm")


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    for name, start in (("a.webp", b"RIFF\0\0\0\0WEBPVP8 "), ("a.png", b"\x89PNG\r\n\x1a\n")):
        with (tmp_path / name).open("wb") as file:
            file.write(start)
            file.truncate(900_000_000)  # takes no room on a disk
        assert "900 megabytes" in refusal(tmp_path / name)


def test_a_lack_of_memory_is_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(QUARTERS))

    def fail(*given: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("emodc.faces.reading._convert", fail)
    assert "takes more memory than there is" in refusal(path)


def test_a_device_is_refused() -> None:
    assert "not a regular file" in refusal(Path("/dev/zero"))


def test_a_name_with_escape_sequences_is_printed_escaped(tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[2J\n\u202eb.png"
    path.write_text("no image")
    with pytest.raises(ValueError, match="not an image") as caught:
        read_image(path)
    assert "a\\x1b[2J\\n\\u202eb.png" in str(caught.value)
    assert str(caught.value).isprintable()


def test_deep_gray_is_scaled_alike_in_every_strip() -> None:
    gray = np.arange(600 * 3, dtype=np.uint16).reshape(600, 3) * 36
    rgb = to_rgb(Image.fromarray(gray), "image")
    np.testing.assert_array_equal(rgb[:, :, 0], np.rint(gray / 257))
