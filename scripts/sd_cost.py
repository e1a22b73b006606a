"""Estimate what Stable Diffusion costs to train and evaluate, for docs/stable-diffusion.md.

    python scripts/sd_cost.py

Operations are counted by torch on networks without weights; the speed of the cards is assumed.
Needs the extra `sd`, but no checkpoint and no GPU.
"""

import torch
from diffusers import UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode

_SD15: dict[str, object] = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}
_SD21: dict[str, object] = {
    "cross_attention_dim": 1024,
    "attention_head_dim": [5, 10, 20, 20],
    "use_linear_projection": True,
}
_UNETS = {
    "1.5": _SD15,
    "2.1 base": _SD21 | {"sample_size": 64},
    "2.1": _SD21 | {"sample_size": 96},
}
"""What the settings of the checkpoints' UNets have that is not diffusers' default."""

_CARDS = {"A100": 312 / 3, "RTX 4090": 165 / 3}
"""TFLOP/s: a third of the makers' figures for dense bf16 with sums in float32."""

_TOKENS = 77
_SAMPLES, _CLASSES, _STEPS = 120_000, 7, 100  # the recipes', RAF-DB's, the paper's
_SCORED = {"evaluation": 3_068, "calibration": 1_226}
"""RAF-DB's test images, and a tenth of each class of its training images
(emodc.data.validation_split)."""

_GIB = 2**30


def count(settings: dict[str, object]) -> tuple[int, float]:
    """Return a UNet's parameters and the TFLOP of one (image, prompt) pair."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(**settings)
        side, width = unet.config.sample_size, unet.config.cross_attention_dim
        inputs = torch.empty(1, 4, side, side), torch.empty(1), torch.empty(1, _TOKENS, width)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        unet(*inputs)
    return sum(p.numel() for p in unet.parameters()), counter.get_total_flops() / 1e12


def hours(pairs: int, tflop: float) -> str:
    """Return the estimated hours on each card."""
    return " | ".join(f"{pairs * tflop / speed / 3600:.1f} h" for speed in _CARDS.values())


if __name__ == "__main__":
    costs = {name: count(settings) for name, settings in _UNETS.items()}
    for name, (parameters, tflop) in costs.items():
        print(f"SD {name}: {parameters:,} parameters, {tflop:.2f} TFLOP a pair")
    parameters, tflop = costs["1.5"]
    print(f"\n| SD 1.5 | pairs | {' | '.join(_CARDS)} |")
    # With gradient checkpointing: forwards twice, and backwards to inputs and to weights.
    print(f"| whole UNet, AMDiT | {2 * _SAMPLES:,} | {hours(2 * _SAMPLES, 4 * tflop)} |")
    print(f"| LoRA, AMDiT | {2 * _SAMPLES:,} | {hours(2 * _SAMPLES, 3 * tflop)} |")
    for name, images in _SCORED.items():
        pairs = images * _CLASSES * _STEPS
        print(f"| {name} | {pairs:,} | {hours(pairs, tflop)} |")
    once = 4 * parameters / _GIB
    print("\n| GPUs | GiB on each for weights, gradients, two moments, and the average |")
    for gpus in (1, 2, 4, 8):
        print(f"| {gpus} | {4 * once / gpus + once:.1f} |")
