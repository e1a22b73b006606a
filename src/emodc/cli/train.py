"""The commands ``emodc train`` and ``emodc recipes``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emodc.cli.console import note, print_error, progress, show_log
from emodc.cli.options import Changes, Init, TrainingDevice

if TYPE_CHECKING:
    from emodc.training.recipe import Recipe


def train(
    recipe: Annotated[
        str, typer.Argument(help="Recipe: a name (see emodc recipes) or .yaml file.")
    ],
    data: Annotated[
        str | None, typer.Option(metavar="NAME:PATH", help="Dataset. [default: the recipe's]")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the run; an interrupted run resumes there. [default: runs/NAME]"
        ),
    ] = None,
    changes: Changes = None,
    init: Init = None,
    device: TrainingDevice = "auto",
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print the settings and stop; with Stable Diffusion, also the cost."
        ),
    ] = False,
) -> None:
    """Train a model by a recipe, or resume its training."""
    from emodc.training.recipe import dump_recipe, load_recipe

    settings = load_recipe(recipe, changes or ())
    spec = data or settings.data
    if dry_run:
        typer.echo(dump_recipe(settings), nl=False)
        if settings.model.backbone.kind == "stable_diffusion":
            _print_cost(settings, spec, device)
        return
    if spec is None:
        raise ValueError(f"recipe '{settings.name}' names no data: give --data NAME:PATH")
    from emodc.data import open_release
    from emodc.model.store import load_model
    from emodc.training.loop import train as run
    from emodc.training.state import TrainingDiverged

    initial = None if init is None else load_model(init)
    release = open_release(spec)
    training, validation = release.split("train"), release.split("validation")
    folder = output or Path("runs") / settings.name
    show_log()
    with progress("samples") as advance:

        def report(samples: int, metrics: dict[str, float]) -> None:
            shown = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
            if "validation_accuracy" in metrics:
                typer.echo(f"{samples} samples: {shown}", err=True)
            advance(samples, settings.samples, f"loss {metrics['loss']:.3g}")

        try:
            run(
                settings,
                training,
                validation,
                folder,
                device=device,
                initial=initial,
                on_metrics=report,
            )
        except TrainingDiverged as error:
            print_error(str(error))
            raise typer.Exit(1) from None
    note(f"the model is in {folder}")


def _print_cost(recipe: "Recipe", spec: str | None, device: str) -> None:
    """Print the cost as comments below the settings; without data, for seven classes."""
    from emodc.data import open_release
    from emodc.labels import BASIC7
    from emodc.support.devices import choose_device
    from emodc.training.cost import plan

    label_set = BASIC7 if spec is None else open_release(spec).split("train").label_set
    for heading, text in plan(recipe, label_set, choose_device(device)).items():
        typer.echo(f"# {heading}: {text}")


def recipes() -> None:
    """List the training recipes that come with the package."""
    from emodc.training.recipe import load_recipe, recipe_names

    for name in recipe_names():
        typer.echo(f"{name:20} {load_recipe(name).summary}")
