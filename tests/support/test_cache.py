import errno
import logging
from pathlib import Path

import numpy as np
import platformdirs
import pytest
from numpy.typing import NDArray

from emodc.support.cache import cache_folder, cached_array

ROW = np.dtype([("number", np.int32)])


class Source:
    """An array that counts how often it is built."""

    def __init__(self) -> None:
        self.built = 0

    def __call__(self) -> NDArray[np.void]:
        self.built += 1
        rows = np.zeros(1000, dtype=ROW)
        rows["number"] = np.arange(1000)
        return rows


def test_the_environment_names_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMODC_CACHE", "somewhere/else")
    assert cache_folder() == Path("somewhere/else")
    for unset in ("", None):
        monkeypatch.delenv("EMODC_CACHE")
        if unset is not None:
            monkeypatch.setenv("EMODC_CACHE", unset)
        assert cache_folder() == Path(platformdirs.user_cache_dir("emodc"))
        monkeypatch.setenv("EMODC_CACHE", "")


def test_an_array_is_built_once_and_then_mapped_from_its_file(tmp_path: Path) -> None:
    source, file = Source(), tmp_path / "new" / "folder" / "a.npy"
    for _ in range(2):
        array = cached_array(file, ROW, source)
        assert isinstance(array, np.memmap)
        assert not array.flags.writeable
        np.testing.assert_array_equal(array["number"], np.arange(1000))
    assert source.built == 1
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("damage", ["empty", "half", "text", "other dtype", "other shape", "npz"])
def test_an_unusable_file_is_built_again(tmp_path: Path, damage: str) -> None:
    source, file = Source(), tmp_path / "a.npy"
    cached_array(file, ROW, source)
    content = file.read_bytes()
    match damage:
        case "empty":
            file.write_bytes(b"")
        case "half":
            file.write_bytes(content[: len(content) // 2])
        case "text":
            file.write_text("not an array")
        case "other dtype":
            np.save(file, np.zeros(1000))
        case "other shape":
            np.save(file, source().reshape(10, 100))
        case "npz":
            with file.open("wb") as stream:
                np.savez(stream, rows=np.zeros(3))
    built = source.built
    np.testing.assert_array_equal(cached_array(file, ROW, source)["number"], np.arange(1000))
    assert source.built == built + 1
    assert file.read_bytes() == content


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    source, file = Source(), tmp_path / "a.npy"
    np.save(file, np.array([{"an": "object"}], dtype=object), allow_pickle=True)
    assert len(cached_array(file, ROW, source)) == 1000
    assert source.built == 1


def test_where_nothing_can_be_written_the_array_stays_in_memory_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING):
        array = cached_array(tmp_path / "file" / "a.npy", ROW, Source())
    assert len(array) == 1000
    [record] = caplog.records
    assert "EMODC_CACHE" in record.getMessage()


def test_a_full_disk_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", fail)
    with caplog.at_level(logging.WARNING):
        assert len(cached_array(tmp_path / "a.npy", ROW, Source())) == 1000
    assert "No space left" in caplog.text
    assert list(tmp_path.iterdir()) == []
