"""The settings of a model: noise schedule, codec and backbone, each one of several kinds."""

from typing import Annotated, Any

from pydantic import Field, Tag, model_validator

from emodc.backbones.conditional_unet import ConditionalUNetConfig
from emodc.backbones.external_kinds import (
    CallableConfig,
    ExternalConfig,
    OnnxConfig,
    TransformersConfig,
)
from emodc.backbones.face_classifier import FaceClassifierConfig
from emodc.backbones.face_unet import FaceUNetConfig
from emodc.backbones.resnet import ResNetConfig
from emodc.backbones.stable_diffusion.checkpoint import CheckpointSchedule
from emodc.backbones.stable_diffusion.unet import StableDiffusionConfig
from emodc.codecs import NormalizedCodec, PixelCodec, VAECodec
from emodc.method.schedule import ShiftedCosine
from emodc.support.settings import Settings, checked, kind_or, kinds

ScheduleConfig = Annotated[
    Annotated[ShiftedCosine, Tag("shifted_cosine")]
    | Annotated[CheckpointSchedule, Tag("checkpoint")],
    kind_or("shifted_cosine"),
]
CodecConfig = Annotated[
    Annotated[PixelCodec, Tag("pixel")]
    | Annotated[VAECodec, Tag("vae")]
    | Annotated[NormalizedCodec, Tag("normalized")],
    kind_or("pixel"),
]
BackboneConfig = Annotated[
    Annotated[FaceUNetConfig, Tag("face_unet")]
    | Annotated[ConditionalUNetConfig, Tag("conditional_unet")]
    | Annotated[StableDiffusionConfig, Tag("stable_diffusion")]
    | Annotated[FaceClassifierConfig, Tag("face_classifier")]
    | Annotated[ResNetConfig, Tag("resnet")]
    | Annotated[TransformersConfig, Tag("transformers")]
    | Annotated[OnnxConfig, Tag("onnx")]
    | Annotated[CallableConfig, Tag("callable")],
    kind_or("face_unet"),
]

MODEL_KINDS = {
    "schedule": kinds(ScheduleConfig),
    "codec": kinds(CodecConfig),
    "backbone": kinds(BackboneConfig),
}
"""What ``kind`` can be in each part."""


class ModelSettings(Settings):
    """What is trained.

    With Stable Diffusion, schedule and codec are the checkpoint's; they need not be given.

    Attributes:
        schedule: the noise schedule.
        codec: how a face crop becomes x0.
        backbone: the network.
        prompts: texts that differ from `emodc.labels.prompt_texts`, by class name, ``null`` or
            ``non_class``; stored with the weights, read by text-conditioned backbones.
    """

    schedule: ScheduleConfig = ShiftedCosine()
    codec: CodecConfig = PixelCodec()
    backbone: BackboneConfig = FaceUNetConfig()
    prompts: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _one_checkpoint(cls, values: Any) -> Any:
        """Fill in the checkpoint that schedule and codec are read from: the backbone's."""
        backbone = values.get("backbone") if isinstance(values, dict) else None
        if not isinstance(backbone, dict) or backbone.get("kind") != "stable_diffusion":
            return values
        source = {key: backbone[key] for key in ("path", "revision", "variant") if key in backbone}
        filled = {}
        for part, kind in (("schedule", "checkpoint"), ("codec", "vae")):
            given = values.get(part, {})
            filled[part] = {"kind": kind, **given, **source} if isinstance(given, dict) else given
        return {**values, **filled}

    @model_validator(mode="after")
    def _parts_fit(self) -> "ModelSettings":
        latent = isinstance(self.backbone, StableDiffusionConfig)
        external = isinstance(self.backbone, ExternalConfig)
        if (
            latent != isinstance(self.codec, VAECodec)
            or external != isinstance(self.codec, NormalizedCodec)
            or latent != isinstance(self.schedule, CheckpointSchedule)
        ):
            raise ValueError(
                f"backbone {self.backbone.kind} does not go with codec {self.codec.kind} and "
                f"schedule {self.schedule.kind}: stable_diffusion goes with vae and checkpoint, "
                "transformers, onnx and callable with normalized and shifted_cosine, the others "
                "with pixel and shifted_cosine"
            )
        multiple = self.backbone.multiple
        if multiple > 1 and self.codec.size % multiple:  # a VAE's size is read from its checkpoint
            raise ValueError(
                f"codec.size {self.codec.size} is not a multiple of {multiple}, "
                "as the backbone's patch asks"
            )
        return self


def parse_model(values: dict[str, Any], source: str) -> ModelSettings:
    """Check the settings of a model alone; ``source`` names them in error messages.

    Raises:
        ValueError: a key or value is wrong; the message has the dotted path.
    """
    return checked(ModelSettings, values, source, MODEL_KINDS)
