"""A network with everything needed to use it: its noise schedule, codec, labels and decision."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from emodc.backbones.base import Backbone, Network
from emodc.faces.geometry import CropGeometry
from emodc.labels import LabelSet, label_set_of, prompt_texts
from emodc.method.draws import DrawBank, Shown, check_steps, draw_bank
from emodc.method.errors import (
    DEFAULT_PAIRS,
    Measure,
    class_errors,
    measure_errors,
    pixel_errors,
)
from emodc.method.noise_level import error_gain, observe
from emodc.method.schedule import Schedule
from emodc.model.decision import Decision, NoiseFloor
from emodc.model.held_out import HeldOut
from emodc.model.settings import ModelSettings
from emodc.model.typicality import Typicality
from emodc.support.devices import DTYPES


@dataclass(frozen=True, repr=False)
class Model:
    """A network with everything needed to use it.

    Attributes:
        name: what the model is called in reports.
        settings: schedule, codec and backbone settings.
        label_set: the ordered classes.
        geometry: where the crops it was trained on show the landmarks; None if that is not known,
            so that it can only be shown crops.
        backbone: the network, in evaluation mode.
        schedule: the noise schedule that ``settings`` describes.
        decision: how errors become an answer.
        facts: JSON values for the card: training run, data, license.
        precision: fp32, bf16 or fp16, that the network computes in when it scores; errors are
            always float32.
        held_out: validation images that certify the decision, once calibrated.
        typicality: what faces like those of training look like to it, once calibrated.
    """

    name: str
    settings: ModelSettings
    label_set: LabelSet
    geometry: CropGeometry | None
    backbone: Network
    schedule: Schedule
    decision: Decision
    facts: Mapping[str, Any] = field(default_factory=dict)
    precision: str = "fp32"
    held_out: HeldOut | None = None
    typicality: Typicality | None = None

    def __repr__(self) -> str:
        calibrated = "" if self.decision.adaptive is None else ", calibrated"
        return (
            f"Model({self.name!r}, {self.settings.backbone.kind} for crops of "
            f"{self.settings.codec.size} pixels, {', '.join(self.answers.classes)}, on "
            f"{self.device}, {self.precision}{calibrated})"
        )

    def predict_noise(self, xt: Tensor, t: Tensor, prompts: Tensor) -> Tensor:
        """Predict the noise as `Network.predict_noise` does, in the model's precision.

        Raises:
            ValueError: the model is a discriminative baseline.
        """
        with self._arithmetic(xt.device):
            return self.backbone.predict_noise(xt, t, prompts)

    def embed(self, x0: Tensor) -> Tensor:
        """Return the features of images that `Network.embed` gives, in the model's precision.

        Args:
            x0: (B, C, H, W) as the codec gives them.

        Returns:
            (B, E) float32.

        Raises:
            ValueError: the network has no such features.
        """
        with self._arithmetic(x0.device):
            return self.backbone.embed(x0).float()

    def draws(self, steps: int, seed: int = 0) -> DrawBank:
        """Return the draws with which the model is scored.

        Args:
            steps: draws asked for; so many are taken as `draws_taken` says.
            seed: of the noise.

        Raises:
            ValueError: steps is outside 1..T.
        """
        timesteps, shape = self.schedule.timesteps, self.settings.codec.shape
        taken = self.draws_taken(steps)
        return draw_bank(
            timesteps, taken, shape, seed, mirror=self.decision.mirror, span=self.decision.span
        )

    def draws_taken(self, steps: int) -> int:
        """Return S: the draws asked for, or what a baseline needs that is shown no noise.

        It answers once for the image, and once for its mirror image if the decision asks for it.

        Raises:
            ValueError: steps is outside 1..T.
        """
        check_steps(steps, self.schedule.timesteps)
        return steps if self.sees_noise else 1 + self.decision.mirror

    def observe(self, x0: Tensor) -> tuple[Tensor, Tensor]:
        """Return images and the levels of the noise that they carry.

        Args:
            x0: (B, C, H, W) as the codec gives them.

        Returns:
            (B, C, H, W), (B,); see `emodc.method.noise_level.observe`. With a decision that takes
            all images for clean ones: x0 and zeros.
        """
        floor = self.decision.noise_floor
        if floor is None:
            return x0, torch.zeros(len(x0), device=x0.device)
        return observe(x0, floor.texture, floor.least)

    def noise_gain(self, sigma: Tensor) -> Tensor:
        """Return how many times the errors of images with noise of levels sigma (B,) count."""
        floor = self.decision.noise_floor
        return error_gain(0.0 if floor is None else floor.gain, sigma)

    def ignoring_noise(self) -> "Model":
        """Return the model with plain scoring, which takes all images for clean ones."""
        return self.with_noise_floor(None)

    def with_noise_floor(self, floor: NoiseFloor | None) -> "Model":
        """Return the model with another idea of how clean images look; None: all are clean."""
        return replace(self, decision=self.decision.model_copy(update={"noise_floor": floor}))

    def shown_errors(self, shown: Shown, prompts: Tensor | None = None) -> Tensor:
        """Return the errors of (image, draw) pairs, those of noisy images by their gain.

        Every error that the model decides by comes from here.

        Args:
            shown: M pairs.
            prompts: (M, P) int64 prompt ids; all K classes if not given.

        Returns:
            (M, P) float32, with gradients to what is shown; see `Network.class_errors`.
        """
        if prompts is None:
            classes = torch.arange(len(self.label_set), device=shown.x.device)
            prompts = classes.expand(len(shown.x), -1)
        with self._arithmetic(shown.x.device):
            errors = self.backbone.class_errors(shown, prompts)
        return self.noise_gain(shown.sigma).unsqueeze(1) * errors

    def measure(self, x0: Tensor, bank: DrawBank, pairs: int = DEFAULT_PAIRS) -> Measure:
        """Return what measures single (image, draw) pairs under chosen prompts.

        See `emodc.method.errors.measure_errors`; the noise that images carry is accounted for.
        """
        x, sigma = self.observe(x0)
        return measure_errors(self.shown_errors, self.schedule, x, bank, pairs, sigma)

    def class_errors(
        self,
        x0: Tensor,
        bank: DrawBank,
        pairs: int = DEFAULT_PAIRS,
        prompts: int | None = None,
    ) -> Tensor:
        """Return the errors of every image under every class and draw, (B, K, S) float32.

        See `emodc.method.errors.class_errors`; the noise that images carry is accounted for.

        Args:
            x0: (B, C, H, W) as the codec gives them.
            bank: S draws.
            pairs: most (image, draw) pairs in one call of the network.
            prompts: so many prompts in the order of their ids in place of the K classes.
        """
        x, sigma = self.observe(x0)
        count = len(self.label_set) if prompts is None else prompts
        return class_errors(self.shown_errors, self.schedule, x, bank, count, pairs, sigma)

    def pixel_errors(self, x0: Tensor, bank: DrawBank, pairs: int = DEFAULT_PAIRS) -> Tensor:
        """Return what every pixel of x0 adds to `class_errors`, (B, K, S, H, W) float32.

        See `emodc.method.errors.pixel_errors`; the noise that images carry is accounted for.

        Args:
            x0: as for `class_errors`.
            bank: as for `class_errors`.
            pairs: as for `class_errors`.

        Raises:
            ValueError: the model is a discriminative baseline.
        """
        network = self.backbone
        if not isinstance(network, Backbone):
            raise ValueError(
                f"model '{self.name}' is a discriminative classifier, which predicts no noise and "
                "so says nothing of single pixels: give a diffusion model, such as face48"
            )

        def element_errors(shown: Shown, prompts: Tensor) -> Tensor:
            with self._arithmetic(shown.x.device):
                errors = network.element_errors(shown, prompts)
            return self.noise_gain(shown.sigma).view(-1, 1, 1, 1, 1) * errors

        x, sigma = self.observe(x0)
        count = len(self.label_set)
        return pixel_errors(element_errors, self.schedule, x, bank, count, pairs, sigma)

    def _arithmetic(self, device: torch.device) -> torch.autocast:
        dtype = DTYPES[self.precision]
        return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)

    def require_geometry(self) -> CropGeometry:
        """Return the geometry that faces are aligned to.

        Raises:
            ValueError: it is not known.
        """
        if self.geometry is None:
            if not self.settings.backbone.trainable:
                raise ValueError(
                    f"nothing says how the crops that model '{self.name}' knows show a face: add "
                    "crop: fer2013 (or arcface, or the landmarks' positions) to the file that "
                    "describes it, or give crops, and say so (--no-detect, in Python "
                    "from_crops=True)"
                )
            raise ValueError(
                f"model '{self.name}' was trained on crops in which no faces were found, so it "
                "cannot be shown photographs: give crops like these, and say so (--no-detect, in "
                "Python from_crops=True)"
            )
        return self.geometry

    @property
    def columns(self) -> Tensor:
        """The ids of the classes that it answers with: (K',) int64."""
        return self.decision.columns(len(self.label_set))

    @property
    def answers(self) -> LabelSet:
        """The classes that it answers with: `label_set`, unless it was restricted."""
        if not self.decision.classes:
            return self.label_set
        return label_set_of(self.label_set.classes[k] for k in self.decision.classes)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(chain(self.backbone.parameters(), self.backbone.buffers())).device

    @property
    def sees_noise(self) -> bool:
        """Whether it takes draws; other baselines are shown the clean image, once."""
        return self.backbone.sees_noise


def build_backbone(settings: ModelSettings, label_set: LabelSet, schedule: Schedule) -> Network:
    """Return a network to be trained, in the memory layout that convolutions like best.

    Raises:
        ValueError: the prompts or the checkpoint it starts from cannot be used.
    """
    texts = prompt_texts(label_set, settings.prompts)
    return settings.backbone.build(texts, schedule).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
