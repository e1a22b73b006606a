"""Stable Diffusion 1.x and 2.x as the backbone, fine-tuned fully, by LoRA or by its prompts.

The paper's own backbone (arXiv 2603.29578): a text-to-image diffusion model whose prompts name
the classes. The texts are encoded once, when the network is built; from then on a prompt is a row
of embeddings, which can be trained too. Each prompt costs a pass of the UNet.
"""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from emodc.backbones.base import WEIGHTS, Backbone, NetworkSettings
from emodc.backbones.stable_diffusion.checkpoint import CheckpointSource, SDCheckpoint
from emodc.backbones.stable_diffusion.texts import encode_texts
from emodc.method.schedule import Schedule
from emodc.support.devices import DTYPES, Precision, when_memory_is_full
from emodc.support.optional import importing
from emodc.support.tensors import pack_tensors, unpack_tensors

LORA = "pytorch_lora_weights.safetensors"
UNET, UNET_SETTINGS = "unet/diffusion_pytorch_model.safetensors", "unet/config.json"
"""Diffusers' names for what a saved model holds beside `emodc.backbones.base.WEIGHTS`."""


@dataclass(frozen=True, kw_only=True)
class StableDiffusionConfig(CheckpointSource, NetworkSettings):
    """Which checkpoint is fine-tuned, and how.

    Attributes:
        tune: ``full``: all weights of the UNet; ``lora``: low-rank additions to it (Hu et al.,
            ICLR 2022); ``prompts``: nothing of it, the prompt embeddings alone.
        tune_prompts: train the prompt embeddings beside the UNet or its LoRA.
        rank: of the LoRA.
        alpha: the LoRA is scaled by alpha / rank.
        targets: the layers that get a LoRA, by the end of their names.
        gradient_checkpointing: compute activations twice instead of keeping them.
        weights: number format that frozen weights are kept in; trained ones are float32.
        rows: (image, prompt) pairs in one call of the UNet when scoring: bounds memory.

    Raises:
        ValueError: a number is not positive, or ``weights`` is not fp32 and all are trained.
    """

    generative = True

    kind: Literal["stable_diffusion"] = "stable_diffusion"
    tune: Literal["full", "lora", "prompts"] = "full"
    tune_prompts: bool = False
    rank: int = 16
    alpha: float = 16.0
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")
    gradient_checkpointing: bool = False
    weights: Precision = "fp32"
    rows: int = 16

    def __post_init__(self) -> None:
        if min(self.rank, self.rows) < 1 or not 0 < self.alpha < math.inf or not self.targets:
            raise ValueError("rank, rows and alpha must be positive, and targets not empty")
        if self.tune == "full" and self.weights != "fp32":
            raise ValueError("weights must be fp32 with tune=full; set the recipe's precision")

    def build(self, texts: Sequence[str], schedule: Schedule) -> "StableDiffusion":
        """Return the checkpoint's network, ready for fine-tuning.

        Args:
            texts: of the K + 2 prompts, in the order of their ids.
            schedule: the checkpoint's own.

        Raises:
            ValueError: the checkpoint cannot be used, or no layer is called as in ``targets``.
            ImportError: the extra `sd` is not installed.
        """
        checkpoint = self.open()
        unet = self._unet(checkpoint)
        return StableDiffusion(self, checkpoint, unet, encode_texts(checkpoint, texts), schedule)

    def restore(
        self, files: Mapping[str, bytes], texts: Sequence[str], schedule: Schedule
    ) -> "StableDiffusion":
        """Return the network that `StableDiffusion.files` described.

        Args:
            files: their contents by name.
            texts: as for `build`; they are not encoded again.
            schedule: as for `build`.

        Raises:
            ValueError: as for `build`, or the files do not fit.
            ImportError: as for `build`.
        """
        checkpoint = self.open()
        unet = self._unet(checkpoint, files)
        prompts = unpack_tensors(files[WEIGHTS]).get("prompts")
        width = unet.config.cross_attention_dim
        if prompts is None or len(prompts) != len(texts) or prompts.shape[-1] != width:
            raise ValueError(f"{WEIGHTS} does not hold embeddings of {len(texts)} prompts")
        if self.tune == "lora":
            from peft import get_peft_model_state_dict, set_peft_model_state_dict

            stored = {k.removeprefix("unet."): v for k, v in unpack_tensors(files[LORA]).items()}
            if stored.keys() != get_peft_model_state_dict(unet).keys():
                raise ValueError(f"{LORA} does not fit the LoRA that the settings describe")
            set_peft_model_state_dict(unet, {k: v.float() for k, v in stored.items()})
        return StableDiffusion(self, checkpoint, unet, prompts.float(), schedule)

    def _unet(self, checkpoint: SDCheckpoint, files: Mapping[str, bytes] | None = None) -> Any:
        """Return the UNet of a checkpoint, or a fully fine-tuned one; with a LoRA if it has one."""
        with importing("sd", "Stable Diffusion"):
            from diffusers import UNet2DConditionModel
            from peft import LoraConfig
        if self.tune == "full" and files is not None:
            unet = UNet2DConditionModel.from_config(json.loads(files[UNET_SETTINGS]))
            unet.load_state_dict({k: v.float() for k, v in unpack_tensors(files[UNET]).items()})
            return unet
        checkpoint.weights("unet")  # refuses an unfinished file
        unet = UNet2DConditionModel.from_pretrained(
            checkpoint.folder / "unet",
            variant=checkpoint.variant,
            torch_dtype=DTYPES[self.weights],
            use_safetensors=True,
        )
        if self.tune == "lora":
            lora = LoraConfig(
                r=self.rank,
                lora_alpha=self.alpha,
                target_modules=list(self.targets),
                init_lora_weights="gaussian",
            )
            unet.requires_grad_(False)
            try:
                unet.add_adapter(lora)
            except ValueError:
                raise ValueError(
                    f"backbone.targets: the UNet has no layers named {', '.join(self.targets)}"
                ) from None
        return unet


class StableDiffusion(Backbone):
    """A Stable Diffusion UNet and the embeddings of the prompts.

    Args:
        config: what is trained.
        checkpoint: what it is made from.
        unet: diffusers' UNet2DConditionModel.
        prompts: (K+2, L, D) float32 embeddings of the prompts.
        schedule: the noise schedule, for turning v into eps.
    """

    shares_trunk = False
    class_rows = frozenset({"prompts"})
    signal: Tensor
    noise: Tensor

    def __init__(
        self,
        config: StableDiffusionConfig,
        checkpoint: SDCheckpoint,
        unet: Any,
        prompts: Tensor,
        schedule: Schedule,
    ) -> None:
        super().__init__()
        revision = checkpoint.folder.name if checkpoint.folder.parent.name == "snapshots" else ""
        self.base = {"path": config.path, "revision": revision, "sha256": checkpoint.sha256()}
        self._config, self._predicts_v = config, checkpoint.predicts_v
        self.unet = unet
        self.prompts = nn.Parameter(prompts)
        signal, noise = schedule.signal_and_noise(torch.arange(schedule.timesteps))
        self.register_buffer("signal", signal, persistent=False)
        self.register_buffer("noise", noise, persistent=False)
        if config.gradient_checkpointing:
            unet.enable_gradient_checkpointing()
        trained = self.trained()
        for name, weight in self.named_parameters():
            weight.requires_grad_(name in trained)
            if name in trained:
                weight.data = weight.data.float()
        self.train()

    def predict_noise(self, xt: Tensor, t: Tensor, prompts: Tensor) -> Tensor:
        """Predict the noise under each prompt: (B, C, H, W), (B,), (B, P) -> (B, P, C, H, W)."""
        images, asked = prompts.shape
        image = torch.arange(images * asked, device=xt.device) // asked  # (B*P,)
        prompt, rows = prompts.flatten(), self._config.rows
        with when_memory_is_full(f"lower model.backbone.rows, now {rows}"):
            parts = [
                self._noise(xt[i], t[i], p)
                for i, p in zip(torch.split(image, rows), torch.split(prompt, rows), strict=True)
            ]
        return torch.cat(parts).view(images, asked, *xt.shape[1:])

    def forward(
        self,
        xt: Tensor,
        t: Tensor,
        prompts: Tensor,
        constant: int = 0,
        augmentation: Tensor | None = None,
    ) -> tuple[Tensor, None]:
        """Return the noise (B, P, C, H, W); no graph is kept of the last ``constant`` prompts."""
        named = prompts.shape[1] - constant
        eps_theta = self._all_rows(xt, t, prompts[:, :named])
        if constant:
            with torch.no_grad():
                reference = self._all_rows(xt, t, prompts[:, named:])
            eps_theta = torch.cat([eps_theta, reference], dim=1)
        return eps_theta, None

    def hidden_weights(self) -> list[nn.Parameter]:
        """Return nothing: fine-tuning is AdamW's."""
        return []

    def trained(self) -> dict[str, nn.Parameter]:
        """Return what training changes, by name, as `StableDiffusionConfig.tune` says."""
        tune = self._config.tune
        prompts = tune == "prompts" or self._config.tune_prompts
        return {
            name: weight
            for name, weight in self.named_parameters()
            if (prompts if name == "prompts" else tune == "full" or ".lora_" in name)
        }

    def split(self) -> None:
        """Split the UNet over all processes; a LoRA and prompts are too small to be worth it."""
        if self._config.tune != "full" or self._config.tune_prompts:
            super().split()  # which refuses
        from emodc.support.fsdp import shard  # costly to import

        shard(self.unet, [*self.unet.down_blocks, self.unet.mid_block, *self.unet.up_blocks])

    def weights(self) -> dict[str, Tensor]:
        """Return the trained weights and the prompts' embeddings."""
        return {
            name: p.detach() for name, p in (self.trained() | {"prompts": self.prompts}).items()
        }

    def files(self, dtype: torch.dtype) -> dict[str, bytes]:
        """Return the prompts in EmoDC's own file; UNet or LoRA in files that diffusers reads."""
        files = {WEIGHTS: pack_tensors({"prompts": self.prompts.detach()}, dtype=dtype)}
        if self._config.tune == "full":
            settings = json.loads(self.unet.to_json_string())
            settings.pop("_name_or_path", None)  # where it was on this machine
            files[UNET_SETTINGS] = (json.dumps(settings, indent=2, sort_keys=True) + "\n").encode()
            files[UNET] = pack_tensors(self.unet.state_dict(), {"format": "pt"}, dtype)
        elif self._config.tune == "lora":
            from peft import get_peft_model_state_dict

            weights = get_peft_model_state_dict(self.unet)
            files[LORA] = pack_tensors(
                {f"unet.{name}": weight for name, weight in weights.items()}, self._lora(), dtype
            )
        return files

    def _lora(self) -> dict[str, str]:
        """Return the LoRA's settings as diffusers keeps them in the file's header."""
        settings = {
            f"unet.{key}": sorted(value) if isinstance(value, set) else value
            for key, value in self.unet.peft_config["default"].to_dict().items()
        }
        # One entry: safetensors writes several in no fixed order, and equal models equal files.
        return {"lora_adapter_metadata": json.dumps(settings, sort_keys=True)}

    def _all_rows(self, xt: Tensor, t: Tensor, prompts: Tensor) -> Tensor:
        """Return the noise under each prompt in one call: (B, P, C, H, W)."""
        asked = prompts.shape[1]
        eps_theta = self._noise(
            xt.repeat_interleave(asked, 0), t.repeat_interleave(asked), prompts.flatten()
        )
        return eps_theta.view(*prompts.shape, *xt.shape[1:])

    def _noise(self, xt: Tensor, t: Tensor, prompt: Tensor) -> Tensor:
        """Return the noise of pairs: (R, C, H, W), (R,), (R,) -> (R, C, H, W) float32."""
        device, dtype = xt.device.type, DTYPES[self._config.weights]
        # Half-precision weights ask for mixed arithmetic even where the caller does not.
        mixed = nullcontext() if dtype == torch.float32 else torch.autocast(device, dtype)
        with nullcontext() if torch.is_autocast_enabled(device) else mixed:
            predicted: Tensor = self.unet(xt, t, self.prompts[prompt], return_dict=False)[0].float()
        if not self._predicts_v:
            return predicted
        # v = signal eps - noise x0 (Salimans & Ho, ICLR 2022), so eps = signal v + noise xt.
        signal, noise = self.signal[t].view(-1, 1, 1, 1), self.noise[t].view(-1, 1, 1, 1)
        eps_theta: Tensor = signal * predicted + noise * xt
        return eps_theta
