"""Classifiers that were trained elsewhere: transformers checkpoints, ONNX files, Python functions.

What their outputs mean must be said: `labels` names our class for every one of them, or null for
one that is to be left out. Several may be the same class of ours; their probabilities are added.
"""

import hashlib
import importlib
import inspect
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from emodc.backbones.base import Classifier
from emodc.diffusion import Schedule
from emodc.extras import importing
from emodc.labels import BASIC8, LabelSet, canonical_name, label_set_of


@dataclass(frozen=True, kw_only=True)
class _External:
    """What all of them need.

    Attributes:
        path: what it is loaded from.
        labels: from an output's name, or its number from 0, to our class or null.
        outputs: what the outputs are: logits, or probabilities.

    Raises:
        ValueError: `labels` names fewer than two classes.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 (read by pydantic, not a field)

    path: str
    labels: dict[int | str, str | None]
    outputs: Literal["logits", "probabilities"] = "logits"

    def __post_init__(self) -> None:
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


@dataclass(frozen=True, kw_only=True)
class TransformersConfig(_External):
    """An image classification checkpoint for transformers.

    Attributes:
        path: folder, or hub id.
        revision: of a hub id.
    """

    kind: Literal["transformers"] = "transformers"
    revision: str | None = None

    def open(self) -> "ExternalClassifier":
        """Return the classifier.

        Raises:
            ValueError: there is no such checkpoint, or it is not for image classification.
            ImportError: the extra `rivals` is not installed.
        """
        with importing("rivals", "a transformers checkpoint"):
            from transformers import AutoConfig, AutoModelForImageClassification
        try:
            config = AutoConfig.from_pretrained(self.path, revision=self.revision)
            tasks = config.architectures or []
            if not any(name.endswith("ForImageClassification") for name in tasks):
                raise ValueError(
                    f"{', '.join(tasks) or 'a checkpoint without a task'}, "
                    "where one that ends in ForImageClassification is needed"
                )
            network = AutoModelForImageClassification.from_pretrained(
                self.path, revision=self.revision, use_safetensors=True
            )
        except (OSError, ValueError) as error:
            raise ValueError(f"backbone.path {self.path}: {_line(error)}") from None
        names = [config.id2label[number] for number in range(config.num_labels)]
        return _TorchClassifier(self, network.eval(), names)


@dataclass(frozen=True, kw_only=True)
class OnnxConfig(_External):
    """An ONNX file with one input (B, C, H, W) float32 and one output (B, number of labels)."""

    kind: Literal["onnx"] = "onnx"

    def open(self) -> "ExternalClassifier":
        """Return the classifier.

        Raises:
            ValueError: there is no such file, or it is not as described.
            ImportError: the extra `onnx` is not installed.
        """
        with importing("onnx", "an ONNX file"):
            import onnxruntime
        try:
            content = Path(self.path).expanduser().read_bytes()
            session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own have no common ancestor below Exception
            raise ValueError(f"backbone.path {self.path}: {_line(error)}") from None
        return _OnnxClassifier(self, session, hashlib.sha256(content).hexdigest())


@dataclass(frozen=True, kw_only=True)
class CallableConfig(_External):
    """A Python function: x0 (B, C, H, W) float32 -> outputs (B, number of labels), torch or numpy.

    Attributes:
        path: ``module:function``.
        differentiable: whether gradients flow through it.
    """

    kind: Literal["callable"] = "callable"
    differentiable: bool = False

    def open(self) -> "ExternalClassifier":
        """Return the classifier.

        Raises:
            ValueError: there is no such function.
        """
        module, colon, name = self.path.partition(":")
        try:
            if not colon or not name:
                raise ValueError("it must be module:function")
            function = getattr(importlib.import_module(module), name)
            source = inspect.getsourcefile(function)
            content = b"" if source is None else Path(source).read_bytes()
        except (ImportError, AttributeError, ValueError, TypeError, OSError) as error:
            raise ValueError(f"backbone.path {self.path}: {_line(error)}") from None
        return _FunctionClassifier(self, function, hashlib.sha256(content).hexdigest())


ExternalConfig = TransformersConfig | OnnxConfig | CallableConfig


class ExternalClassifier(Classifier):
    """A classifier with outputs of its own, seen as one with our classes.

    Args:
        config: says what the outputs mean.
        names: of the outputs, if they have names.
    """

    place: Tensor

    def __init__(self, config: _External, names: Sequence[str] | None = None) -> None:
        super().__init__()
        self._config, self._names = config, names
        self.register_buffer("place", torch.empty(0), persistent=False)  # tells the device

    @abstractmethod
    def outputs(self, x0: Tensor) -> Tensor:
        """Return what it answers: (B, C, H, W) -> (B, number of labels)."""

    def forward(self, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """Return logits, here log-probabilities up to a constant: (B, C, H, W) -> (B, K).

        Raises:
            ValueError: it cannot be shown x0, or does not answer as `labels` says.
        """
        try:
            outputs = self.outputs(x0)
        except Exception as error:  # whatever foreign code finds wrong with the picture
            shape = "x".join(map(str, x0.shape[1:]))
            raise ValueError(
                f"{self._config.path} cannot be shown pictures of {shape} (channels x height x "
                f"width): {_line(error)}; change codec.size, codec.mean or codec.std"
            ) from error
        if outputs.ndim != 2 or len(outputs) != len(x0):
            raise ValueError(
                f"{self._config.path} answers {tuple(outputs.shape)} to {len(x0)} pictures; it "
                "must be a number for each picture and label"
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

    def hidden_weights(self) -> list[nn.Parameter]:
        """Return nothing: it is not trained here."""
        return []

    def files(self, dtype: torch.dtype) -> dict[str, bytes]:
        """Refuse: only what was trained here is written.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"{self._config.path} was not trained here: keep the file that names it")


class _TorchClassifier(ExternalClassifier):
    """A transformers model."""

    def __init__(self, config: _External, network: nn.Module, names: Sequence[str]) -> None:
        super().__init__(config, names)
        self.network = network

    def outputs(self, x0: Tensor) -> Tensor:
        """Return the model's logits."""
        logits: Tensor = self.network(pixel_values=x0).logits
        return logits


class _OnnxClassifier(ExternalClassifier):
    """An ONNX session; its input may have a fixed number of pictures."""

    differentiable = False

    def __init__(self, config: _External, session: Any, sha256: str) -> None:
        super().__init__(config)
        self._session = session
        self.base = {"path": config.path, "revision": "", "sha256": sha256}

    def outputs(self, x0: Tensor) -> Tensor:
        """Return the first output, for as many pictures at a time as the file takes."""
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise ValueError(f"it has {len(inputs)} inputs, not one")
        rows = inputs[0].shape[0] if isinstance(inputs[0].shape[0], int) else len(x0)
        if len(x0) % rows:
            raise ValueError(f"it takes {rows} pictures at a time")
        parts = [
            self._session.run(None, {inputs[0].name: part.detach().cpu().numpy()})[0]
            for part in torch.split(x0, rows)
        ]
        return torch.from_numpy(np.concatenate(parts)).to(x0.device)


class _FunctionClassifier(ExternalClassifier):
    """A Python function."""

    def __init__(self, config: CallableConfig, function: Any, sha256: str) -> None:
        super().__init__(config)
        self._function = function
        self.differentiable = config.differentiable
        self.base = {"path": config.path, "revision": "", "sha256": sha256}

    def outputs(self, x0: Tensor) -> Tensor:
        """Return what the function answers."""
        return torch.as_tensor(self._function(x0)).to(x0.device)


def match_labels(config: _External, count: int, names: Sequence[str] | None) -> list[list[int]]:
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


def _listed(count: int, names: Sequence[str]) -> str:
    return ", ".join(f"{n} {name}" for n, name in enumerate(names)) or f"0 to {count - 1}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
