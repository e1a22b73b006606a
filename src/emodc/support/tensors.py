"""Writing tensors to a file without copies of them."""

import json
from collections.abc import Mapping
from typing import Any, BinaryIO

import torch
from torch import Tensor

_DTYPE_NAMES = {
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int64: "I64",
    torch.uint8: "U8",
}


def write_tensors(
    file: BinaryIO, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write tensors as safetensors, one after another.

    safetensors' own `save` takes three times their memory, which a large model may not leave.

    Args:
        file: opened for writing.
        tensors: on any device, in a dtype of `_DTYPE_NAMES`.
        metadata: texts by name.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))  # aligned
    end = 0
    for name in order:
        tensor, start = tensors[name], end
        end += tensor.nbytes
        described = {"dtype": _DTYPE_NAMES[tensor.dtype], "shape": list(tensor.shape)}
        header[name] = described | {"data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for name in order:
        flat = tensors[name].detach().cpu().contiguous().flatten()
        file.write(flat.view(torch.uint8).numpy().data)
