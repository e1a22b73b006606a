"""Training that begins with the weights of another model, whose classes may be others."""

from typing import Any

import torch
from torch import Tensor

from emodc.backbones.base import Network
from emodc.labels import LabelSet
from emodc.model.identity import weights_hash
from emodc.model.model import Model
from emodc.model.settings import ModelSettings


@torch.no_grad()
def take_weights(
    network: Network, settings: ModelSettings, label_set: LabelSet, source: Model
) -> dict[str, Any]:
    """Give a fresh network the trained weights of a model.

    Classes are matched by name: the prompt of a class that the model knows, and the class's row of
    an auxiliary or only classification head, are taken over; those of other classes stay as they
    are. The null and the non-class prompt are taken over.

    Args:
        network: is changed.
        settings: the network's.
        label_set: the network's classes.
        source: the model to begin with.

    Returns:
        What a card says of it: the model's ``name``, ``weights_sha256``, ``samples`` and
        ``training_data`` where they are known, the classes ``kept`` and ``fresh``, and the
        ``initial_model`` that it began with in turn.

    Raises:
        ValueError: the model has another codec, noise schedule or network.
    """
    for part in ("schedule", "codec"):
        theirs, ours = getattr(source.settings, part), getattr(settings, part)
        if theirs != ours:
            raise ValueError(
                f"cannot begin with '{source.name}': its {part} is {theirs}, not {ours}"
            )
    kinds = source.settings.backbone.kind, settings.backbone.kind
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"cannot begin with '{source.name}': its network is {kinds[0]}, not {kinds[1]}"
        )
    if source.backbone.base.get("sha256") != network.base.get("sha256"):
        raise ValueError(f"cannot begin with '{source.name}': it was made from another checkpoint")
    given, wanted = source.backbone.trained(), network.trained()
    differing = sorted(given.keys() ^ wanted.keys())
    for name in given.keys() & wanted.keys():
        rows = len(label_set) - len(source.label_set) if name in network.class_rows else 0
        expected = list(given[name].shape)
        expected[0] += rows
        if list(wanted[name].shape) != expected:
            differing.append(name)
    if differing:
        raise ValueError(
            f"cannot begin with '{source.name}': its {kinds[0]} has other sizes (they differ in "
            f"{min(differing)}); give the recipe the backbone settings of its emodc.json"
        )
    for name, weight in wanted.items():
        if name in network.class_rows:
            _take_rows(weight, given[name], label_set, source.label_set)
        else:
            weight.copy_(given[name])
    return _facts(source, label_set)


def _take_rows(weight: Tensor, given: Tensor, ours: LabelSet, theirs: LabelSet) -> None:
    """Copy the rows of common classes, and those behind the classes'."""
    for row, name in enumerate(ours.classes):
        if name in theirs.classes:
            weight[row] = given[theirs.classes.index(name)]
    weight[len(ours) :] = given[len(theirs) :]


def _facts(source: Model, label_set: LabelSet) -> dict[str, Any]:
    known = set(source.label_set.classes)
    carried = ("samples", "training_data", "initial_model")
    return {
        "name": source.name,
        "weights_sha256": weights_hash(source),
        **{key: source.facts[key] for key in carried if key in source.facts},
        "kept": [name for name in label_set.classes if name in known],
        "fresh": [name for name in label_set.classes if name not in known],
    }
