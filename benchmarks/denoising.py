"""Compare models as denoisers: mean noise-prediction error under the true class, by timestep.

A classifier in disguise would score well and denoise badly. Each model's ``d_p`` stands beside
that of the best linear denoiser (Wiener) fitted on the training images.

    python benchmarks/denoising.py --data fer2013plus:/path/to/fer2013 face48 runs/base
"""

import argparse
import sys

import torch
from rich.console import Console
from rich.table import Table

from emodc.checkpoint import Model, load_model
from emodc.classifier import DrawBank, draw_bank
from emodc.data import FaceData, open_data
from emodc.data.subset import stratified_subset
from emodc.diffusion import add_noise, noise_error
from emodc.wiener import wiener_errors


@torch.inference_mode()
def d_p_by_timestep(
    model: Model, x0: torch.Tensor, labels: torch.Tensor, bank: DrawBank
) -> torch.Tensor:
    """Return (S,) mean error of the images x0 (N, C, H, W) under their classes (N,)."""
    means = []
    for t, eps in zip(bank.t, bank.eps, strict=True):
        steps, noise = t.expand(len(x0)), eps.expand_as(x0)
        xt = add_noise(model.schedule, x0, noise, steps)
        d_p = noise_error(model.backbone.predict_noise(xt, steps, labels.unsqueeze(1)), noise)
        means.append(d_p.mean())
    return torch.stack(means)


def pictures(model: Model, data: FaceData) -> torch.Tensor:
    """Return the images of a data set as x0 (N, C, H, W)."""
    return model.settings.codec.encode([data.image(i) for i in range(len(data))])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", help="model names or folders; ratios are to the last")
    parser.add_argument("--data", required=True, help="NAME:PATH")
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, default=500)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()

    models = [load_model(name) for name in options.models]
    first = models[0]
    data = open_data(options.data, options.split)
    data = data.subset(stratified_subset(data.labels, options.limit, seed=0))
    x0, labels = pictures(first, data), torch.from_numpy(data.labels)
    bank = draw_bank(first.schedule.timesteps, options.steps, first.settings.codec.shape)
    columns = {
        name: d_p_by_timestep(model, x0, labels, bank)
        for name, model in zip(options.models, models, strict=True)
    }
    training = pictures(first, open_data(options.data, "train"))
    columns["wiener"] = wiener_errors(training, x0, first.schedule, bank.t)

    table = Table(
        "t", "sigma", *columns, title=f"d_p on {len(data)} {data.name} {data.split} images"
    )
    sigma = first.schedule.sigma(bank.t)
    for row, t in enumerate(bank.t.tolist()):
        values = [f"{column[row]:.4f}" for column in columns.values()]
        table.add_row(str(t), f"{sigma[row]:.3f}", *values)
    table.add_row("mean", "", *[f"{column.mean():.4f}" for column in columns.values()])
    Console(file=sys.stdout, width=100).print(table)


if __name__ == "__main__":
    main()
