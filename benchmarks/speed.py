"""Measure training, scoring and start-up on this machine; medians, one process at a time.

python benchmarks/speed.py [--recipe face48] [--repeats 15]
"""

import argparse
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch

from emodc.data import FaceData
from emodc.labels import BASIC7
from emodc.method.draws import draw_bank
from emodc.method.errors import class_errors
from emodc.method.loss import sample_loss
from emodc.model.model import build_backbone
from emodc.training.batches import Sampler
from emodc.training.recipe import Recipe, load_recipe
from emodc.training.state import RunState


def seconds(action: Callable[[], object], repeats: int) -> float:
    """Return the median time of an action in seconds, after two runs to warm up."""
    times = []
    for attempt in range(repeats + 2):
        start = time.perf_counter()
        action()
        if attempt >= 2:
            times.append(time.perf_counter() - start)
    return median(times)


def noise_images() -> FaceData:
    """Return images that cost what real ones cost; what they show does not matter for time."""
    pixels = np.random.default_rng(0).integers(0, 256, (512, 48, 48), dtype=np.uint8)
    return FaceData(
        name="noise",
        split="train",
        label_set=BASIC7,
        labels=np.arange(512) % 7,
        ids=[str(i) for i in range(512)],
        reader=lambda i: pixels[i],
        stamp=lambda i: "",
        votes=np.full((512, 7), 1 / 7, np.float32),
    )


def training_rate(recipe: Recipe, repeats: int) -> float:
    """Return training samples a second: drawing, forward, backward, both optimizers, average."""
    schedule = recipe.model.schedule.build()
    backbone = build_backbone(recipe.model, BASIC7, schedule)
    state = RunState.fresh(backbone, recipe.optimizer, {})
    sampler = Sampler(noise_images(), recipe, schedule)

    def step() -> None:
        batch = sampler.batch(range(state.samples, state.samples + recipe.batch_size))
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bf16"):
            phase = recipe.phases[-1]
            loss, _ = sample_loss(backbone, schedule, batch, phase.objective, 7, phase.trunk_weight)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(backbone.parameters(), recipe.optimizer.clip)
        state.step(0.01, recipe.optimizer, recipe.batch_size, recipe.ema)

    return recipe.batch_size / seconds(step, repeats)


def scoring_rate(recipe: Recipe, repeats: int) -> float:
    """Return trunk passes a second when scoring: one pass is one draw of one image, all classes."""
    schedule = recipe.model.schedule.build()
    backbone = build_backbone(recipe.model, BASIC7, schedule).eval()
    bank = draw_bank(schedule.timesteps, 20, recipe.model.codec.shape)
    x0 = torch.randn(24, *recipe.model.codec.shape)
    return 480 / seconds(
        lambda: class_errors(backbone.class_errors, schedule, x0, bank, 7), repeats
    )


def help_seconds(repeats: int) -> float:
    """Return the time of ``emodc --help`` in seconds."""
    command = [sys.executable, "-m", "emodc", "--help"]
    return seconds(lambda: subprocess.run(command, check=True, capture_output=True), repeats)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="face48")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    recipe = load_recipe(options.recipe)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.machine()}")
    for precision in ("bf16", "fp32"):  # which is faster depends on the processor
        rate = training_rate(
            load_recipe(options.recipe, [f"precision={precision}"]), options.repeats
        )
        print(
            f"training {recipe.name}, {precision}: {rate:.0f} images/s (batch {recipe.batch_size})"
        )
    rate = scoring_rate(recipe, options.repeats)
    print(f"scoring {recipe.name}: {rate:.0f} trunk passes/s, {7 * rate:.0f} prompt evaluations/s")
    print(f"emodc --help: {help_seconds(options.repeats):.2f} s")


if __name__ == "__main__":
    main()
