"""The kinds of classifiers trained elsewhere: how each is opened and asked."""

import hashlib
import importlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from emodc.backbones.external import External, ExternalClassifier, Unfit
from emodc.support.files import one_line
from emodc.support.optional import importing
from emodc.support.parsing import read_bytes
from emodc.support.text import shortened

_MOST_ONNX = 2 << 30  # bytes: what a protobuf may have

_FLOATS = {
    "tensor(float16)": np.float16,
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
}


@dataclass(frozen=True, kw_only=True)
class TransformersConfig(External):
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
            ImportError: the extra `baselines` is not installed.
        """
        with importing("baselines", "a transformers checkpoint"):
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
            raise ValueError(f"backbone.path {self.path}: {one_line(error)}") from None
        names = [config.id2label[number] for number in range(config.num_labels)]
        return _TorchClassifier(self, network.eval(), names)


class _TorchClassifier(ExternalClassifier):
    """A transformers model."""

    def __init__(self, config: External, network: nn.Module, names: Sequence[str]) -> None:
        super().__init__(config, names)
        self.network = network

    def outputs(self, x0: Tensor) -> Tensor:
        """Return the model's logits."""
        logits: Tensor = self.network(pixel_values=x0).logits
        return logits


@dataclass(frozen=True, kw_only=True)
class OnnxConfig(External):
    """An ONNX file with one input of images, whose first output is (B, number of labels).

    The input is (B, C, H, W) or (B, H, W, C), of floats of any precision; B may be fixed.
    """

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
            content = read_bytes(Path(self.path).expanduser(), _MOST_ONNX)
            session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own have no common ancestor below Exception
            raise ValueError(f"backbone.path {self.path}: {shortened(one_line(error))}") from None
        return _OnnxClassifier(self, session, hashlib.sha256(content).hexdigest())


class _OnnxClassifier(ExternalClassifier):
    """An ONNX session; its input may have a fixed number of images, and channels last."""

    differentiable = False

    def __init__(self, config: External, session: Any, sha256: str) -> None:
        super().__init__(config)
        self._session = session
        self.base = {"path": config.path, "revision": "", "sha256": sha256}
        inputs = session.get_inputs()
        if len(inputs) != 1:
            raise ValueError(f"{config.path}: it has {len(inputs)} inputs, not one")
        self._input = inputs[0]
        if self._input.type not in _FLOATS:
            raise ValueError(
                f"{config.path}: its input is {self._input.type}, not of floats; export it again "
                "without what turns bytes into floats"
            )

    def outputs(self, x0: Tensor) -> Tensor:
        """Return the first output, for as many images at a time as the file takes."""
        shape, dtype = self._input.shape, _FLOATS[self._input.type]
        images = x0.detach().cpu()
        if len(shape) == 4 and shape[3] == x0.shape[1] != shape[1]:
            images = images.permute(0, 2, 3, 1)
        rows = shape[0] if shape and isinstance(shape[0], int) and shape[0] > 0 else len(images)
        parts = []
        for part in torch.split(images, rows):
            full = torch.cat([part, part[:1].expand(rows - len(part), *part.shape[1:])])
            found = self._session.run(None, {self._input.name: full.numpy().astype(dtype)})[0]
            if not isinstance(found, np.ndarray):
                raise Unfit(f"{self._config.path}: its first output is no tensor")
            parts.append(found[: len(part)])
        return torch.from_numpy(np.concatenate(parts)).to(x0.device)


@dataclass(frozen=True, kw_only=True)
class CallableConfig(External):
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
            raise ValueError(f"backbone.path {self.path}: {one_line(error)}") from None
        return _FunctionClassifier(self, function, hashlib.sha256(content).hexdigest())


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


ExternalConfig = TransformersConfig | OnnxConfig | CallableConfig
