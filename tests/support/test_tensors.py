from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from emodc.support.tensors import (
    open_rows,
    pack_tensors,
    read_metadata,
    read_names,
    read_tensors,
    unpack_tensors,
    write_tensors,
)


def test_tensors_written_one_by_one_are_read_as_they_were(tmp_path: Path) -> None:
    g = torch.Generator().manual_seed(0)
    tensors = {
        "odd bytes": torch.tensor([1, 2, 255], dtype=torch.uint8),
        "step": torch.tensor(7.0),
        "half": torch.randn(3, generator=g).half(),
        "brain": torch.randn(2, 5, generator=g).bfloat16(),
        "filters": torch.randn(4, 3, 3, 3, generator=g).to(memory_format=torch.channels_last),
        "transposed": torch.randn(3, 2, generator=g).T,
        "counts": torch.arange(4),
        "nothing": torch.empty(0, 3),
    }
    with (tmp_path / "file").open("wb") as file:
        write_tensors(file, tensors, {"é": '{"a": 1}'})
    read = load_file(tmp_path / "file")
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor), name
    assert read_tensors(tmp_path / "file").metadata == {"é": '{"a": 1}'}
    assert read_metadata(tmp_path / "file")["é"] == '{"a": 1}'


def test_a_flipped_bit_is_told_wherever_it_is(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with file.open("wb") as stream:
        write_tensors(stream, {"a": torch.arange(4.0), "b": torch.ones(2)}, {"about": "x"})
    whole = file.read_bytes()
    for place in range(len(whole)):
        for bit in (0, 5):
            changed = bytearray(whole)
            changed[place] ^= 1 << bit
            file.write_bytes(changed)
            try:
                kept = read_tensors(file)
            except ValueError:
                continue
            assert kept.tensors["a"].tolist() == [0, 1, 2, 3], (
                place
            )  # blanks, or the name of the hash
            assert kept.tensors["b"].tolist() == [1, 1]
            assert kept.metadata["about"] == "x"


def test_files_of_safetensors_itself_are_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(pack_tensors({"a": torch.ones(2)}, {"é": "1"}))
    kept = read_tensors(tmp_path / "file")
    assert kept.tensors["a"].tolist() == [1, 1]
    assert kept.metadata == {"é": "1"}


def test_tensors_are_packed_in_the_dtype_that_is_asked_for() -> None:
    tensors = {"a": torch.ones(2), "b": torch.arange(2)}
    packed = unpack_tensors(pack_tensors(tensors, dtype=torch.float16))
    assert {value.dtype for value in packed.values()} == {torch.float16}
    kept = unpack_tensors(pack_tensors(tensors))
    assert (kept["a"].dtype, kept["b"].dtype) == (torch.float32, torch.int64)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff" * 40, b"\x02" + bytes(7) + b"{}"])
def test_what_is_no_file_of_tensors_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    for read in (read_tensors, read_metadata):
        if content.endswith(b"{}") and len(content) > 2:
            assert read(tmp_path / "file") in (({}, {}), {})  # an empty one
            continue
        with pytest.raises(ValueError, match="not a file of tensors"):
            read(tmp_path / "file")
    with pytest.raises(ValueError, match="not a file of tensors"):
        unpack_tensors(b"nothing of the kind")


def test_rows_and_names_are_read_without_the_rest(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(12.0).view(4, 3), "b": torch.ones(2)}
    (tmp_path / "file").write_bytes(pack_tensors(tensors))
    assert read_names(tmp_path / "file") == {"a", "b"}
    rows = open_rows(tmp_path / "file", ["a"])["a"]
    assert rows.get_shape() == [4, 3]
    assert rows[2].tolist() == [6, 7, 8]
    with pytest.raises(ValueError, match="not a file of tensors"):
        open_rows(tmp_path / "file", ["c"])
