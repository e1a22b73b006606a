"""Tensors on disk and in memory: safetensors, the one format that weights and results are kept in.

Files that this module writes carry a hash of what they hold, so that a flipped bit is told from a
result. Files without one, of safetensors itself or of earlier versions, are read as they are.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

_DTYPE_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int64: "I64",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}

_HASH = "content sha256"


class Kept(NamedTuple):
    """What a file of tensors holds.

    Attributes:
        tensors: by name, on the CPU.
        metadata: texts by name.
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def pack_tensors(
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    dtype: torch.dtype | None = None,
) -> bytes:
    """Serialize tensors as safetensors does, whatever their memory layout.

    Args:
        tensors: by name, on any device.
        metadata: texts by name.
        dtype: to store them in; their own if not given.
    """
    ready = {
        name: (value if dtype is None else value.to(dtype)).contiguous().cpu()
        for name, value in tensors.items()
    }
    return save(ready, None if metadata is None else dict(metadata))


def write_tensors(
    file: BinaryIO, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write tensors as safetensors, one after another, with a hash of them all.

    safetensors' own `save` takes three times their memory, which a large model may not leave.

    Args:
        file: opened for writing.
        tensors: on any device, in a dtype of `_DTYPE_NAMES`.
        metadata: texts by name.
    """
    described = {**metadata, _HASH: _content_hash(tensors, metadata)}
    header: dict[str, Any] = {"__metadata__": described}
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))  # aligned
    end = 0
    for name in order:
        tensor, start = tensors[name], end
        end += tensor.nbytes
        about = {"dtype": _DTYPE_NAMES[tensor.dtype], "shape": list(tensor.shape)}
        header[name] = about | {"data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for name in order:
        file.write(_bytes(tensors[name]))


def read_tensors(path: Path) -> Kept:
    """Read a file of tensors.

    Raises:
        ValueError: it is no safetensors file, or not as it was written; says nothing but why.
        OSError: it cannot be read.
    """
    with _understood(), safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata() or {})
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    expected = metadata.pop(_HASH, None)
    if expected is not None and _content_hash(tensors, metadata) != expected:
        raise ValueError("not as it was written")
    return Kept(tensors, metadata)


def read_metadata(path: Path) -> dict[str, str]:
    """Read the texts of a file of tensors, without its tensors.

    Raises:
        ValueError: it is no safetensors file.
        OSError: it cannot be read.
    """
    with _understood(), safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


def read_names(path: Path) -> set[str]:
    """Read the names of the tensors in a file, which is whole if they can be read.

    Raises:
        ValueError: it is no safetensors file, or a part of one.
        OSError: it cannot be read.
    """
    with _understood(), safe_open(path, framework="pt") as file:
        return set(file.keys())


def open_rows(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """Open tensors whose rows are read one by one, memory-mapped; their hash is not looked at.

    Args:
        path: the file.
        names: of the tensors.

    Returns:
        By name what gives rows when it is indexed, and the tensor's shape by ``get_shape()``.

    Raises:
        ValueError: it is no safetensors file, or has no such tensors.
        OSError: it cannot be read.
    """
    with _understood():
        file = safe_open(path, framework="pt")
        return {name: file.get_slice(name) for name in names}  # type: ignore[no-untyped-call]


def unpack_tensors(content: bytes) -> dict[str, Tensor]:
    """Return the tensors that `pack_tensors` serialized.

    Raises:
        ValueError: it is something else.
    """
    with _understood():
        return load(content)


@contextmanager
def _understood() -> Iterator[None]:
    """Turn safetensors' own error into one that needs no knowledge of it."""
    try:
        yield
    except SafetensorError as error:
        raise ValueError(f"not a file of tensors ({error})") from None


def _content_hash(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Return a hash of names, texts, kinds, shapes and numbers, in an order of its own."""
    content = hashlib.sha256(json.dumps(dict(metadata), sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        content.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        content.update(_bytes(tensor))
    return content.hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().flatten()
    data: memoryview = flat.view(torch.uint8).numpy().data
    return data
