"""Classifiers that were trained elsewhere: transformers checkpoints, ONNX files, Python functions.

What their outputs mean must be said: `labels` names our class for every one of them, or null for
one that is to be left out. Several may be the same class of ours; their probabilities are added.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

import torch
from torch import Tensor, nn

from emodc.backbones.base import Classifier, NetworkSettings
from emodc.labels import ALIASES, BASIC8, COMPOUND11, LabelSet, canonical_name, label_set_of
from emodc.method.schedule import Schedule
from emodc.support.files import one_line
from emodc.support.text import printable, shortened


@dataclass(frozen=True, kw_only=True)
class External(NetworkSettings):
    """What all of them need.

    Attributes:
        path: what it is loaded from.
        labels: from an output's name, or its number from 0, to our class or null.
        outputs: what the outputs are: logits, or probabilities.

    Raises:
        ValueError: `labels` names fewer than two classes, or one that looks misspelt.
    """

    trainable = False

    path: str
    labels: dict[int | str, str | None]
    outputs: Literal["logits", "probabilities"] = "logits"

    def __post_init__(self) -> None:
        for key, name in self.labels.items():
            if name is not None and (meant := _meant(name)):
                raise ValueError(
                    f"labels.{key}: '{shortened(printable(name), 80)}' is no class known here; "
                    f"'{meant}' is"
                )
        self.label_set()

    def label_set(self) -> LabelSet:
        """Return our classes, the basic ones first and in their usual order."""
        named = {canonical_name(name) for name in self.labels.values() if name is not None}
        basic = [name for name in BASIC8.classes if name in named]
        return label_set_of([*basic, *sorted(named.difference(basic))])

    @abstractmethod
    def open(self) -> "ExternalClassifier":
        """Return the classifier; its outputs are checked when it is first used."""

    def build(self, texts: Sequence[str], schedule: Schedule) -> "ExternalClassifier":
        """Return the classifier as it is; the arguments are of no importance."""
        return self.open()

    def restore(
        self, files: Mapping[str, bytes], texts: Sequence[str], schedule: Schedule
    ) -> "ExternalClassifier":
        """Return the classifier; none of it is in the files.

        Raises:
            ValueError: it cannot be opened.
        """
        return self.open()


class Unfit(ValueError):
    """What a classifier answers cannot be used, whatever it is shown."""


class ExternalClassifier(Classifier):
    """A classifier with outputs of its own, mapped to our classes.

    Args:
        config: says what the outputs mean.
        names: of the outputs, if they have names.
    """

    place: Tensor

    def __init__(self, config: External, names: Sequence[str] | None = None) -> None:
        super().__init__()
        self._config, self._names = config, names
        self.register_buffer("place", torch.empty(0), persistent=False)  # for the device

    @abstractmethod
    def outputs(self, x0: Tensor) -> Tensor:
        """Return what it answers: (B, C, H, W) -> (B, number of labels)."""

    def forward(self, x0: Tensor, xt: Tensor, t: Tensor) -> Tensor:
        """Return logits, here log-probabilities up to a constant: (B, C, H, W) -> (B, K).

        Raises:
            ValueError: it cannot be shown x0, or does not answer as `labels` says.
        """
        try:
            outputs = self.outputs(x0)
        except Unfit:
            raise
        except Exception as error:  # whatever foreign code finds wrong with the image
            shape = "x".join(map(str, x0.shape[1:]))
            raise ValueError(
                f"{self._config.path} cannot be shown images of {shape} (channels x height x "
                f"width): {shortened(one_line(error))}; change codec.size, codec.mean or codec.std"
            ) from error
        if outputs.ndim != 2 or len(outputs) != len(x0):
            raise ValueError(
                f"{self._config.path} answers {tuple(outputs.shape)} to {len(x0)} images; it "
                "must be a number for each image and label"
            )
        columns = match_labels(self._config, outputs.shape[1], self._names)
        logs = outputs.float()
        if self._config.outputs == "probabilities":
            if bool((logs < 0).any()):
                raise ValueError(
                    f"{self._config.path} answers negative numbers: outputs are logits"
                )
            logs = logs.clamp_min(torch.finfo(logs.dtype).tiny).log()
        return torch.stack([logs[:, own].logsumexp(dim=1) for own in columns], dim=1)

    def answers_probabilities(self, x0: Tensor) -> bool:
        """Tell whether the outputs for x0 are probabilities: not negative, of sum 1."""
        outputs = self.outputs(x0).float()
        sums = outputs.sum(dim=1)
        return bool((outputs >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-2)

    def hidden_weights(self) -> list[nn.Parameter]:
        """Return nothing: it is not trained here."""
        return []

    def files(self, dtype: torch.dtype) -> dict[str, bytes]:
        """Refuse: only what was trained here is written.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"{self._config.path} was not trained here: keep the file that names it")


def match_labels(config: External, count: int, names: Sequence[str] | None) -> list[list[int]]:
    """Return the outputs that stand for each of our classes.

    Args:
        config: says which.
        count: of the outputs.
        names: theirs, if they have names.

    Returns:
        K lists of numbers 0..count-1, none empty.

    Raises:
        ValueError: an output is not named, is named twice, or does not exist.
    """
    known = list(names or ())
    given: dict[int, str | None] = {}
    for key, ours in config.labels.items():
        number = known.index(str(key)) if str(key) in known else -1
        if number < 0 and str(key).isdigit():
            number = int(key)
        if not 0 <= number < count or number in given:
            what = "is there already" if number in given else "is no output"
            raise ValueError(f"backbone.labels.{key} {what}: outputs are {_listed(count, known)}")
        given[number] = ours
    missing = [n for n in range(count) if n not in given]
    if missing:
        shown = ", ".join(known[n] if known else str(n) for n in missing)
        raise ValueError(
            f"backbone.labels does not say what {shown} is: name one of our classes, or null to "
            f"leave it out; outputs are {_listed(count, known)}"
        )
    classes = config.label_set().classes
    return [
        [n for n, ours in sorted(given.items()) if ours is not None and canonical_name(ours) == k]
        for k in classes
    ]


def _meant(name: str) -> str:
    """Return the class that a name is a misspelling of; "" if it is known, or like no other."""
    known = [*BASIC8.classes, *COMPOUND11.classes]
    if canonical_name(name) in known:
        return ""
    close = get_close_matches(canonical_name(name), [*known, *ALIASES], n=1, cutoff=0.8)
    return canonical_name(close[0]) if close else ""


def _listed(count: int, names: Sequence[str]) -> str:
    return ", ".join(f"{n} {name}" for n, name in enumerate(names)) or f"0 to {count - 1}"
