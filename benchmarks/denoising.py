"""Compare models as denoisers: mean noise-prediction error under the true class, by timestep.

A classifier in disguise would score well and denoise badly. Each model's ``d_p`` stands beside
that of the best linear denoiser (Wiener) fitted on the training images, with the ratios of the
first model to every other column. Every image has noise of its own, the same for all models.

    python benchmarks/denoising.py --data fer2013plus:/path/to/fer2013 face48 runs/base
"""

import argparse
import sys

import torch
from rich.console import Console
from rich.table import Table

from emodc.data import FaceData, open_data
from emodc.data.subset import stratified_subset
from emodc.experiments.analysis.measurement import require_comparable
from emodc.method.draws import draw_bank
from emodc.method.linear_denoiser import wiener_errors
from emodc.method.randomness import standard_normal
from emodc.method.schedule import add_noise, noise_error
from emodc.model.model import Model
from emodc.model.store import load_model

_STREAM = 0xDE0  # of `counter_rng`


@torch.inference_mode()
def d_p_by_timestep(
    models: list[Model], x0: torch.Tensor, labels: torch.Tensor, t: torch.Tensor
) -> list[torch.Tensor]:
    """Return for each model (S,) the mean error of x0 (N, C, H, W) under the classes (N,)."""
    rows = []
    for number, step in enumerate(t):
        indices = [number * len(x0) + i for i in range(len(x0))]
        eps, steps = standard_normal(0, _STREAM, indices, x0.shape[1:]), step.expand(len(x0))
        xt = add_noise(models[0].schedule, x0, eps, steps)
        predicted = [m.predict_noise(xt, steps, labels.unsqueeze(1)) for m in models]
        rows.append(torch.stack([noise_error(each, eps).mean() for each in predicted]))
    return list(torch.stack(rows, dim=1))


def images(model: Model, data: FaceData) -> torch.Tensor:
    """Return the images of a dataset as x0 (N, C, H, W)."""
    return model.settings.codec.encode([data.image(i) for i in range(len(data))])


def load_comparable(names: list[str]) -> list[Model]:
    """Load models whose errors can be compared: same noise, same space, same classes."""
    models = {name: load_model(name) for name in names}
    try:
        require_comparable(models)
    except ValueError as error:
        sys.exit(str(error))
    return list(models.values())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", help="names or folders; ratios are of the first")
    parser.add_argument("--data", required=True, help="NAME:PATH")
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, default=500)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()

    models = load_comparable(options.models)
    first = models[0]
    data = open_data(options.data, options.split)
    data = data.subset(stratified_subset(data.labels, options.limit, seed=0))
    x0, labels = images(first, data), torch.from_numpy(data.labels)
    t = draw_bank(first.schedule.timesteps, options.steps, (1,)).t
    errors = d_p_by_timestep(models, x0, labels, t)
    columns = dict(zip(options.models, errors, strict=True))
    training = images(first, open_data(options.data, "train"))
    columns["wiener"] = wiener_errors(training, x0, first.schedule, t).float()
    others = list(columns)[1:]

    ratios = [f"{options.models[0]} / {name}" for name in others]
    title = f"d_p on {len(data)} {data.name} {data.split} images"
    table = Table("t", "sigma", *columns, *ratios, title=title)
    sigma = first.schedule.sigma(t)
    rows = [
        (str(step), f"{sigma[i]:.3f}", [column[i] for column in columns.values()])
        for i, step in enumerate(t.tolist())
    ]
    rows.append(("mean", "", [column.mean() for column in columns.values()]))
    for step, level, values in rows:
        shares = [f"{values[0] / value:.3f}" for value in values[1:]]
        table.add_row(step, level, *[f"{value:.4f}" for value in values], *shares)
    Console(file=sys.stdout, width=120).print(table)


if __name__ == "__main__":
    main()
