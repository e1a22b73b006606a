"""Results that survive an interruption: one file for each, which knows what it belongs to."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from emodc.model.store import pack_tensors
from emodc.support.files import write_atomically

_FACTS = "facts"


@dataclass(frozen=True)
class Cell:
    """What one subject did under one condition.

    Attributes:
        tensors: by name.
        facts: JSON values.
    """

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]


def load_cell(file: Path, identity: Mapping[str, str]) -> Cell | None:
    """Read a cell; None if it is not there yet.

    Args:
        file: where `save_cell` put it.
        identity: what decides the result.

    Raises:
        ValueError: it is damaged, or its identity is another.
    """
    if not file.exists():
        return None
    try:
        with safe_open(file, framework="pt") as opened:
            found = dict(opened.metadata())
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
        facts = json.loads(found[_FACTS])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        raise ValueError(f"{file}: damaged; delete it and it will be measured again") from None
    differing = [key for key, value in identity.items() if found.get(key) != value]
    if differing:
        raise ValueError(
            f"{file}: belongs to a run with another {', another '.join(differing)}; choose "
            "another output folder, or delete this one"
        )
    return Cell(tensors, facts)


def save_cell(file: Path, cell: Cell, identity: Mapping[str, str]) -> None:
    """Write a cell.

    Args:
        file: where to; its folder is made.
        cell: the result.
        identity: what decides the result.

    Raises:
        OSError: it cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    facts = json.dumps(dict(cell.facts), allow_nan=False)
    write_atomically(file, pack_tensors(cell.tensors, {**identity, _FACTS: facts}))
