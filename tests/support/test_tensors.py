from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from emodc.support.tensors import write_tensors


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
    with safe_open(tmp_path / "file", framework="pt") as opened:
        assert opened.metadata() == {"é": '{"a": 1}'}
