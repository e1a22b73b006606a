"""The kinds of classifiers trained elsewhere: how each is opened and asked."""

import hashlib
import importlib
import inspect
import os
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
        session, sha256 = _open_session(self.path)
        return _OnnxClassifier(self, session, sha256)


def _open_session(path: str) -> tuple[Any, str]:
    with importing("onnx", "an ONNX file"):
        import onnxruntime
    try:
        content = read_bytes(Path(path).expanduser(), _MOST_ONNX)
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own have no common ancestor below Exception
        raise ValueError(f"backbone.path {path}: {shortened(one_line(error))}") from None
    return session, hashlib.sha256(content).hexdigest()


class _OnnxClassifier(ExternalClassifier):
    """An ONNX session; its input may have a fixed number of images, and channels last.

    A session can be neither copied nor pickled, and its threads do not come along with a fork:
    copies and forked processes open the file again when they first need it.
    """

    differentiable = False

    def __init__(self, config: External, session: Any, sha256: str) -> None:
        super().__init__(config)
        self._session, self._process = session, os.getpid()
        self.base = {"path": config.path, "revision": "", "sha256": sha256}
        inputs = session.get_inputs()
        if len(inputs) != 1:
            raise ValueError(f"{config.path}: it has {len(inputs)} inputs, not one")
        self._input, self._shape, kind = inputs[0].name, tuple(inputs[0].shape), inputs[0].type
        if kind not in _FLOATS:
            raise ValueError(
                f"{config.path}: its input is {kind}, not of floats; export it again "
                "without what turns bytes into floats"
            )
        self._dtype = _FLOATS[kind]

    def __getstate__(self) -> dict[str, Any]:
        """Return everything but the session."""
        return self.__dict__ | {"_session": None}

    def _connected(self) -> Any:
        if self._session is None or self._process != os.getpid():
            session, sha256 = _open_session(self._config.path)
            if sha256 != self.base["sha256"]:
                raise Unfit(f"{self._config.path} has changed since it was loaded; load it again")
            self._session, self._process = session, os.getpid()
        return self._session

    def outputs(self, x0: Tensor) -> Tensor:
        """Return the first output, for as many images at a time as the file takes."""
        session, shape = self._connected(), self._shape
        images = x0.detach().cpu()
        if len(shape) == 4 and shape[3] == x0.shape[1] != shape[1]:
            images = images.permute(0, 2, 3, 1)
        rows = shape[0] if shape and isinstance(shape[0], int) and shape[0] > 0 else len(images)
        parts = []
        for part in torch.split(images, rows):
            full = torch.cat([part, part[:1].expand(rows - len(part), *part.shape[1:])])
            found = session.run(None, {self._input: full.numpy().astype(self._dtype)})[0]
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
