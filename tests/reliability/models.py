"""Mutated models: descriptions with other values, weights of other bytes, numbers and shapes.

Hashes are written anew for most of them, as a stranger who means harm would do.
"""

import copy
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from safetensors.torch import load

from emodc.model.description import SETTINGS, description_hash
from emodc.support.tensors import pack_tensors
from tests.reliability.mutations import damaged

WEIGHTS = "model.safetensors"

Files = Mapping[str, bytes]
"""The files of a model, by name."""

_VALUES: Sequence[Any] = (
    *(None, True, False, 0, 1, -1, 2, 7, 64, 2048, 80_000, 10**6, 10**9, 2**63, 0.5, -0.5, 1e300),
    *("", "x", "neutral", "\x1b[2J", "a\nb", "../../etc/passwd", "/dev/zero", "9" * 5000, "\u202e"),
    *("callable", "onnx", "transformers", "stable_diffusion", "resnet", "face_classifier"),
    *("conditional_unet", "checkpoint", "vae", "normalized", "log_normal", "os:system"),
    *([], {}, [1], [[]], [0.5] * 3000, {"kind": "callable", "path": "os:system"}, {"x": "00"}),
)
"""What stands in the place of a value."""

_NUMBERS: Sequence[float] = (float("nan"), float("inf"), float("-inf"), 1e38, -1e38, 0.0, 1e-45)


def damaged_model(whole: Files, rng: np.random.Generator) -> tuple[str, Files]:
    """Return what was done to a model, and its files; for `campaign.Campaign`.

    Args:
        whole: the files of an undamaged model.
        rng: decides everything.
    """
    ways: Sequence[Callable[[Files, np.random.Generator], tuple[str, Files]]] = (
        *([_other_values] * 5),
        *(_other_bytes, _other_weight_bytes, _other_weight_bytes, _other_weights, _other_weights),
    )
    return ways[int(rng.integers(len(ways)))](whole, rng)


def mutator(whole: Files) -> Callable[[np.random.Generator], tuple[str, Files]]:
    """Return `damaged_model` of one model."""
    return partial(damaged_model, whole)


def described(files: Files, change: Callable[[dict[str, Any]], object]) -> Files:
    """Return a model with a changed description, and the hash that vouches for it."""
    settings = json.loads(files[SETTINGS])
    change(settings)
    settings["sha256"] = description_hash(settings)
    return {**files, SETTINGS: json.dumps(settings).encode()}


def _other_values(whole: Files, rng: np.random.Generator) -> tuple[str, Files]:
    told = []

    def change(settings: dict[str, Any]) -> None:
        for _ in range(int(rng.integers(1, 4))):
            places = list(_places(settings))
            node, key, path = places[int(rng.integers(len(places)))]
            value = copy.deepcopy(_VALUES[int(rng.integers(len(_VALUES)))])
            if rng.random() < 0.15:
                del node[key]
                told.append(f"no {path}")
            elif rng.random() < 0.1 and isinstance(node, dict):
                node[str(rng.choice(["kind", "path", "revision", "x"]))] = value
                told.append(f"more beside {path}")
            else:
                node[key] = value
                told.append(f"{path} = {value!r:.40}")

    files = described(whole, change)
    return f"description: {told}", files


def _other_bytes(whole: Files, rng: np.random.Generator) -> tuple[str, Files]:
    how, content = damaged(whole[SETTINGS], rng)
    return f"bytes of {SETTINGS}: {how}", {**whole, SETTINGS: content}


def _other_weight_bytes(whole: Files, rng: np.random.Generator) -> tuple[str, Files]:
    how, content = damaged(whole[WEIGHTS], rng)
    return f"bytes of {WEIGHTS}: {how}", _with_weights(whole, content)


def _other_weights(whole: Files, rng: np.random.Generator) -> tuple[str, Files]:
    weights = load(whole[WEIGHTS])
    names = sorted(weights)
    name = names[int(rng.integers(len(names)))]
    weight = weights.pop(name)
    how = str(rng.choice(["numbers", "all", "shape", "missing", "renamed", "integers"]))
    number = _NUMBERS[int(rng.integers(len(_NUMBERS)))]
    if how == "numbers":
        flat = weight.flatten()
        flat[int(rng.integers(len(flat)))] = number
        weights[name] = flat.view(weight.shape)
    elif how == "all":
        weights[name] = torch.full_like(weight, number)
    elif how == "shape":
        weights[name] = torch.cat([weight, weight])
    elif how == "renamed":
        weights["\x1b[2J" + name] = weight
    elif how == "integers":
        weights[name] = weight.to(torch.int64)
    return f"{name}: {how} {number}", _with_weights(whole, pack_tensors(weights))


def _with_weights(whole: Files, content: bytes) -> Files:
    digest = hashlib.sha256(content).hexdigest()
    changed = described(whole, lambda settings: settings.update(weights_sha256=digest))
    return {**changed, WEIGHTS: content}


def _places(node: Any, path: str = "") -> Any:
    """Yield every value's container, its key in it, and its path."""
    keys = list(node) if isinstance(node, dict) else range(len(node))
    for key in keys:
        here = f"{path}.{key}"
        yield node, key, here
        if isinstance(node[key], dict | list):
            yield from _places(node[key], here)
