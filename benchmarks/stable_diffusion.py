"""What the Stable Diffusion backbone costs beside plain diffusers, on a small checkpoint.

    python benchmarks/stable_diffusion.py

Prints, with the bound that each must keep: a Base step beside diffusers' own text-to-image
training step; AMDiT steps beside a Base step; scoring all prompts at once beside one at a time;
peak memory of scoring few prompts and draws beside many. The checkpoint has random weights and
little more than a real one's structure: the ratios are what counts. Variants take turns, times
are medians of the process's CPU time, so that other work on the machine matters little.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from diffusers import DDPMScheduler, UNet2DConditionModel
from torch import Tensor

from emodc.labels import BASIC7, COMPOUND11, LabelSet
from emodc.method.draws import Shown, draw_bank
from emodc.method.errors import class_errors, noise_errors
from emodc.method.loss import Batch, sample_loss
from emodc.model.model import build_backbone
from emodc.training.recipe import Recipe, parse_recipe
from emodc.training.state import RunState

_BATCH, _ROUNDS, _IMAGES, _STEPS = 4, 7, 2, 2
_AMDIT = {"kind": "amdit", "negatives": "one"}


def main() -> None:
    """Make the checkpoint, measure, print."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
    from tiny_sd import write_tiny_checkpoint

    with tempfile.TemporaryDirectory() as folder:
        write_tiny_checkpoint(Path(folder), widths=(64, 128), latent_size=16)
        steps = {
            "diffusers": diffusers_step(folder),
            "base": step(recipe(folder, {"kind": "base"})),
            "amdit": step(recipe(folder, _AMDIT)),
            "null": step(recipe(folder, {**_AMDIT, "reference": "null"})),
        }
        took = cpu_seconds(steps)
        print(f"{_BATCH} images a step, {torch.get_num_threads()} thread(s), median of {_ROUNDS}")
        for name, seconds in took.items():
            print(f"  {name:10} {1000 * seconds / _BATCH:8.2f} ms an image")
        report("Base step / diffusers' own step", took["base"] / took["diffusers"], "<=", 1.0)
        report("AMDiT, c_nn = c_p / Base", took["amdit"] / took["base"], "<=", 2.1)
        report("AMDiT, null reference, detached / Base", took["null"] / took["base"], "<=", 2.6)
        took = cpu_seconds({"at once": scoring(folder, True), "one by one": scoring(folder, False)})
        report(
            "scoring: one prompt at a time / all", took["one by one"] / took["at once"], ">=", 1.1
        )
        few, many = peak_mib(folder, 2, 4), peak_mib(folder, 11, 24)
        print(f"  peak of scoring: K=2, S=4: {few:.0f} MiB; K=11, S=24: {many:.0f} MiB")
        report("peak memory, many / few", many / few, "<=", 1.05)


def report(what: str, ratio: float, sign: str, bound: float) -> None:
    """Print a ratio and whether it keeps its bound."""
    kept = ratio <= bound if sign == "<=" else ratio >= bound
    print(f"{what:42} {ratio:6.3f}  ({sign} {bound}: {'kept' if kept else 'NOT KEPT'})")


def cpu_seconds(actions: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Return the median CPU time of each action; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(_ROUNDS + 2):  # the first two rounds warm up
        for name, action in actions.items():
            started = time.process_time()
            action()
            if number > 1:
                times[name].append(time.process_time() - started)
    return {name: median(values) for name, values in times.items()}


def recipe(folder: str, objective: dict[str, str]) -> Recipe:
    """Return settings for full fine-tuning in float32."""
    return parse_recipe(
        {
            "name": "benchmark",
            "model": {"backbone": {"kind": "stable_diffusion", "path": folder}},
            "samples": 1000,
            "batch_size": _BATCH,
            "phases": [{"objective": objective}],
            "optimizer": {"learning_rate": 1e-5, "muon_learning_rate": 0.0},
        },
        "benchmark",
    )


def step(settings: Recipe) -> Callable[[], None]:
    """Return one of our training steps, from x0 to the averaged weights."""
    schedule = settings.model.schedule.build()
    backbone = build_backbone(settings.model, BASIC7, schedule)
    state = RunState.fresh(backbone, settings.optimizer, {})
    accelerator = Accelerator(cpu=True)
    x0 = torch.randn(_BATCH, *settings.model.codec.shape)

    def run() -> None:
        batch = Batch(
            x0=x0,
            c_p=torch.randint(7, (_BATCH,)),
            t=torch.randint(schedule.timesteps, (_BATCH,)),
            eps=torch.randn_like(x0),
            replaced=torch.full((_BATCH,), -1),
            u=torch.rand(_BATCH),
            augmentation=torch.zeros(_BATCH, 6),
        )
        loss, _ = sample_loss(backbone, schedule, batch, settings.phases[0].objective, 7)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(backbone.parameters(), 1.0)
        state.step(1.0, settings.optimizer, _BATCH, ema=0)

    return run


def diffusers_step(folder: str) -> Callable[[], None]:
    """Return the step of a plain text-to-image training loop over the same modules."""
    unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet").train()
    scheduler = DDPMScheduler.from_pretrained(folder, subfolder="scheduler")
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-5)
    side = unet.config.sample_size
    x0, texts = torch.randn(_BATCH, 4, side, side), torch.randn(7, 32, 32)

    def run() -> None:
        noise = torch.randn_like(x0)
        t = torch.randint(scheduler.config.num_train_timesteps, (_BATCH,))
        noisy = scheduler.add_noise(x0, noise, t)
        text = texts[torch.randint(7, (_BATCH,))]
        loss = F.mse_loss(unet(noisy, t, text).sample.float(), noise.float())
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return run


def scoring(
    folder: str, together: bool, label_set: LabelSet = BASIC7, steps: int = _STEPS
) -> Callable[[], None]:
    """Return the scoring of a few images, with all prompts in one call or each in its own."""
    settings = recipe(folder, {"kind": "base"})
    schedule, classes = settings.model.schedule.build(), len(label_set)
    backbone = build_backbone(settings.model, label_set, schedule).eval()
    bank = draw_bank(schedule.timesteps, steps, settings.model.codec.shape)
    x0 = torch.randn(_IMAGES, *settings.model.codec.shape)

    def one_by_one(xt: Tensor, t: Tensor, prompts: Tensor) -> Tensor:
        rows = [(xt[i : i + 1], t[i : i + 1], prompts[i : i + 1]) for i in range(len(xt))]
        return torch.cat(
            [
                torch.cat(
                    [backbone.predict_noise(x, s, p[:, k : k + 1]) for k in range(classes)], 1
                )
                for x, s, p in rows
            ]
        )

    predict = backbone.predict_noise if together else one_by_one

    def errors(shown: Shown, asked: Tensor) -> Tensor:
        return noise_errors(predict, shown, asked)

    return lambda: void(class_errors(errors, schedule, x0, bank, classes))


def void(_: Tensor) -> None:
    """Drop a result."""


def peak_mib(folder: str, classes: int, steps: int) -> float:
    """Return the peak memory of a process that scores, in MiB."""
    arguments = [sys.executable, __file__, folder, str(classes), str(steps)]
    output = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
    return float(output)


def score_and_print_peak(folder: str, classes: int, steps: int) -> None:
    """Score, then print the process's peak memory in MiB."""
    import resource

    label_set = LabelSet("some", COMPOUND11.classes[:classes])
    scoring(folder, True, label_set, steps)()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        score_and_print_peak(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
