"""Results that survive an interruption: one file for each, which knows what it belongs to."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from emodc.support.files import whole_file
from emodc.support.tensors import read_tensors, write_tensors


@dataclass(frozen=True)
class Result:
    """What was measured.

    Attributes:
        tensors: by name.
        facts: JSON values by name.
    """

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]


def load_result(
    file: Path,
    identity: Mapping[str, str],
    tensors: Sequence[str] = (),
    facts: Sequence[str] = (),
) -> Result | None:
    """Read a result; None if it is not there yet.

    Args:
        file: where `save_result` put it.
        identity: what decides the result.
        tensors: names of the tensors that it must have; it may have more.
        facts: names of its facts.

    Raises:
        ValueError: it is damaged, or its identity is another.
    """
    if not file.exists():
        return None
    try:
        kept = read_tensors(file)
        found = {name: json.loads(kept.metadata[name]) for name in facts}
        if missing := [name for name in tensors if name not in kept.tensors]:
            raise ValueError(f"no {missing[0]}")
    except (OSError, KeyError, ValueError, RecursionError):
        raise ValueError(f"{file}: damaged; delete it and it will be measured again") from None
    differing = [key for key, value in identity.items() if kept.metadata.get(key) != value]
    if differing:
        raise ValueError(
            f"{file}: belongs to a run with another {', another '.join(differing)}; choose "
            "another output folder, or delete this one"
        )
    return Result(kept.tensors, found)


def save_result(file: Path, result: Result, identity: Mapping[str, str]) -> None:
    """Write a result.

    Args:
        file: where to; its folder is made.
        result: what was measured.
        identity: what decides it; no name of it is that of a fact.

    Raises:
        OSError: it cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    facts = {name: json.dumps(value, allow_nan=False) for name, value in result.facts.items()}
    with whole_file(file) as stream:
        write_tensors(stream, result.tensors, {**identity, **facts})
