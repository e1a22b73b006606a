"""The one interface between the method and a network.

A `Backbone` predicts noise, as the method asks. A `Classifier` answers directly: the baselines that
the method is compared with are trained, saved and evaluated by the same code. Both say by
`Network.class_errors` what each class is charged for a draw.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from emodc.method.draws import Shown
from emodc.method.errors import element_errors, noise_errors
from emodc.method.schedule import Schedule
from emodc.support.tensors import pack_tensors, unpack_tensors
from emodc.support.text import printable, shortened

WEIGHTS = "model.safetensors"
"""The file of weights that every saved model has."""


class NetworkSettings(ABC):
    """What the settings of every network have in common; they are dataclasses with a ``kind``.

    Attributes:
        generative: see `Network`.
        trainable: whether it can be trained here.
        auxiliary_head: whether training can use an auxiliary classification head beside it.
    """

    generative: ClassVar[bool] = False
    trainable: ClassVar[bool] = True
    auxiliary_head: ClassVar[bool] = False

    @property
    def multiple(self) -> int:
        """What the size of x0 must be a multiple of."""
        return 1

    @abstractmethod
    def build(self, texts: Sequence[str], schedule: Schedule) -> "Network":
        """Return the network with fresh weights, drawn from torch's global generator.

        Args:
            texts: of the K + 2 prompts; where prompts are learned, only their number matters.
            schedule: gives every timestep its noise level.

        Raises:
            ValueError: what it starts from cannot be used.
            ImportError: the extra that it needs is not installed.
        """

    def restore(
        self, files: Mapping[str, bytes], texts: Sequence[str], schedule: Schedule
    ) -> "Network":
        """Return the network with the weights that `Network.files` gave.

        Raises:
            ValueError: they do not fit, or as for `build`.
            ImportError: as for `build`.
        """
        network = self.build(texts, schedule)
        load_weights(network, files)
        return network


class Network(nn.Module, ABC):
    """A network that can be trained, saved and asked for classes.

    Attributes:
        generative: whether it predicts noise under prompts; otherwise it is a discriminative
            classifier.
        sees_noise: whether it is shown noised images and their noise level, one for each draw;
            otherwise the clean image, whatever the draw.
        differentiable: whether gradients reach the image.
        shares_trunk: whether further prompts for an image cost little; if each costs a pass of
            its own, scoring drops classes that cannot win.
        class_rows: names of the weights that have a row for each class, in label order, before any
            other rows.
        base: the checkpoint that the network was made from, by ``path``, ``revision`` and
            ``sha256``; empty if it was trained from scratch.
    """

    generative: ClassVar[bool]
    shares_trunk: ClassVar[bool]
    sees_noise: bool
    differentiable: bool = True
    class_rows: ClassVar[frozenset[str]] = frozenset()
    base: Mapping[str, str] = {}

    @abstractmethod
    def class_errors(self, shown: Shown, prompts: Tensor) -> Tensor:
        """Return what each prompt is charged for each (image, draw) pair; the least wins.

        Args:
            shown: M pairs.
            prompts: (M, P) int64 prompt ids.

        Returns:
            (M, P) float32, with gradients to what is shown.
        """

    @abstractmethod
    def predict_noise(self, xt: Tensor, t: Tensor, prompts: Tensor) -> Tensor:
        """Predict the noise in ``xt`` under each prompt.

        Args:
            xt: (B, C, H, W) float32 noised images.
            t: (B,) int64 timesteps in 0..T-1.
            prompts: (B, P) int64 prompt ids.

        Returns:
            (B, P, C, H, W) float.

        Raises:
            ValueError: the network is not `generative`.
        """

    def embed(self, x0: Tensor) -> Tensor:
        """Return the features of clean images from which the network reads classes.

        Args:
            x0: (B, C, H, W) float32.

        Returns:
            (B, E) float.

        Raises:
            ValueError: the network has no such features.
        """
        raise ValueError(f"{type(self).__name__} gives no features: take another model")

    def evaluations(self, num_classes: int) -> int:
        """Return how many (draw, prompt) pairs a draw costs when it is scored under K classes."""
        return num_classes

    @abstractmethod
    def hidden_weights(self) -> list[nn.Parameter]:
        """Return the matrices that Muon is made for; AdamW gets the rest."""

    def trained(self) -> dict[str, nn.Parameter]:
        """Return what training changes, by name: all parameters but those of a frozen base."""
        return dict(self.named_parameters())

    def weights(self) -> dict[str, Tensor]:
        """Return what makes this model, beside its settings and its `base`."""
        return self.state_dict()

    def split(self) -> None:
        """Split the weights over all processes (see `emodc.support.fsdp`).

        Raises:
            ValueError: it cannot be split.
        """
        raise ValueError(
            "FSDP splits the UNet of Stable Diffusion where all of it is trained (backbone."
            "tune=full, tune_prompts=false): here, use configs/accelerate/multi-gpu.yaml"
        )

    def files(self, dtype: torch.dtype) -> dict[str, bytes]:
        """Return the files that hold the weights, by name, stored in ``dtype``."""
        return {WEIGHTS: pack_tensors(self.weights(), dtype=dtype)}


class Backbone(Network):
    """A network that predicts noise under several prompts at once.

    Prompt ids are classes 0..K-1 in label order, null = K, non-class = K + 1 (see
    :mod:`emodc.method.prompts`). Predictions are of the noise eps, whatever the network predicts
    inside.
    """

    generative = True
    sees_noise = True

    def class_errors(self, shown: Shown, prompts: Tensor) -> Tensor:
        """Return the noise-prediction errors; see `emodc.method.errors.noise_errors`."""
        return noise_errors(self.predict_noise, shown, prompts)

    def element_errors(self, shown: Shown, prompts: Tensor) -> Tensor:
        """Return (M, P, C, H, W), of which `class_errors` is the mean over the elements."""
        return element_errors(self.predict_noise, shown, prompts)

    @abstractmethod
    def forward(
        self,
        xt: Tensor,
        t: Tensor,
        prompts: Tensor,
        constant: int = 0,
        augmentation: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Predict the noise in training.

        Args:
            xt: as for `predict_noise`.
            t: as for `predict_noise`.
            prompts: as for `predict_noise`.
            constant: so many of the last prompts need no gradient.
            augmentation: (B, 6) float32, how the images were changed, see
                `emodc.training.augment.augment`; ignored by a network that is not told.

        Returns:
            The predictions (B, P, C, H, W) and, where the network has one, the logits (B, K) of
            its auxiliary classification head; scoring never uses them.
        """


class Classifier(Network):
    """A network that tells the classes apart directly, without prompts.

    Where the diffusion classifier charges class c the noise-prediction error for a draw, this one
    charges ``-log p(c | x)``. Means over draws, temperature, posterior, attacks and reports are
    then the same code for both, and a classifier that is shown the very draws, the control,
    differs from the diffusion classifier in nothing but what it predicts.
    """

    generative = False
    shares_trunk = True
    sees_noise = False

    @abstractmethod
    def forward(self, x0: Tensor, xt: Tensor, t: Tensor) -> Tensor:
        """Return logits (B, K) float32.

        Args:
            x0: (B, C, H, W) clean images.
            xt: (B, C, H, W) the same, noised; counts only if the network `sees_noise`.
            t: (B,) int64 timesteps in 0..T-1; likewise.
        """

    def class_errors(self, shown: Shown, prompts: Tensor) -> Tensor:
        """Return ``-log p(c | x)`` of the classes asked for."""
        losses = -torch.log_softmax(self(shown.x, shown.xt, shown.t), dim=1)  # (M, K)
        return losses.gather(1, prompts)

    def predict_noise(self, xt: Tensor, t: Tensor, prompts: Tensor) -> Tensor:
        """Refuse.

        Raises:
            ValueError: always.
        """
        raise ValueError("a discriminative classifier predicts no noise: give a diffusion model")

    def evaluations(self, num_classes: int) -> int:
        """Return 1: one answer names all classes."""
        return 1


class NotFinite(ValueError):
    """Weights that are NaN or infinite: a model that has them can answer nothing.

    Args:
        file: that holds them.
        weight: the first of them.
    """

    def __init__(self, file: str, weight: str) -> None:
        super().__init__(
            f"{shortened(printable(weight), 200)} holds NaN or infinite weights: the training "
            "diverged, or the file was damaged; take another checkpoint"
        )
        self.file = file


def read_weights(files: Mapping[str, bytes], name: str = WEIGHTS) -> dict[str, Tensor]:
    """Return the weights in one of the files that `Network.files` gave, as float32.

    Raises:
        NotFinite: some are NaN or infinite.
        ValueError: there is no such file, or it holds no tensors.
    """
    if name not in files:
        raise ValueError(f"{name} is missing")
    weights = {key: weight.float() for key, weight in unpack_tensors(files[name]).items()}
    for key, weight in weights.items():
        if not bool(weight.isfinite().all()):
            raise NotFinite(name, key)
    return weights


def load_weights(network: Network, files: Mapping[str, bytes]) -> None:
    """Give a network the weights that `Network.files` gave.

    Raises:
        NotFinite: some are NaN or infinite.
        ValueError: they do not fit.
    """
    weights = read_weights(files)
    try:
        network.load_state_dict(weights)
    except RuntimeError:
        raise ValueError("the weights do not fit the backbone that is described") from None
