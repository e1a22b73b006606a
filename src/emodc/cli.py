"""The command line: ``emodc predict | evaluate | calibrate | train | export | recipes``.

Data goes to stdout, everything else to stderr. Heavy modules are imported inside the commands, so
that help and complaints about arguments come at once.
"""

import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from emodc.cli_data import data_app
from emodc.console import complain, csv_writer, prediction_table, print_json, print_rich, progress

if TYPE_CHECKING:
    from emodc.predict import Prediction

_EPILOG = (
    "Exit codes: 0 done; 1 some pictures could not be read (the others are done), or training "
    "diverged; 2 nothing could be done (wrong arguments, no such model, no readable picture); "
    "130 interrupted."
)


class _ErrorBoundary(TyperGroup):
    """The one place where errors become a line on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # who read our output has seen enough; typer ends without a word
        except KeyboardInterrupt:
            typer.echo("emodc: interrupted", err=True)
            raise typer.Exit(130) from None
        except OSError as error:
            named = error.filename is not None and error.strerror is not None
            complain(f"{error.filename}: {error.strerror}" if named else str(error))
        except (ValueError, ImportError) as error:
            complain(str(error))
        raise typer.Exit(2)


class _OptionalDelta(TyperCommand):
    """Lets ``--adaptive`` stand alone or be followed by a number."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given = list(args)
        if "--adaptive" in given:
            place = given.index("--adaptive")
            following = given[place + 1] if place + 1 < len(given) else ""
            if not following.replace(".", "", 1).isdigit():
                given[place] = "--adaptive=0"  # stands for the default
        return super().parse_args(ctx, given)


app = typer.Typer(
    cls=_ErrorBoundary,
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

app.add_typer(data_app, name="data")

_Model = Annotated[str, typer.Option(help="A bundled model's name, a model's folder or a hub id.")]
_Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
_Adaptive = Annotated[
    float | None,
    typer.Option(
        metavar="[DELTA]",
        help="Take as many draws as it needs; at most this share of the answers may differ from "
        "those of all draws. Takes a calibrated model. [default DELTA: 0.02]",
    ),
]
_Budget = Annotated[int | None, typer.Option(help="Most draws for a face.")]
_Seed = Annotated[int, typer.Option(min=0, help="Seed of the draws: same seed, same answer.")]


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        # File names may hold what the terminal's encoding cannot show.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    app()


def _print_version(wanted: bool) -> None:
    if wanted:
        from emodc import __version__

        typer.echo(f"emodc {__version__}")
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Recognise facial expressions with a conditional diffusion model as the classifier."""
    # Pillow warns of large pictures and odd metadata; `emodc.images` decides what is refused.
    warnings.filterwarnings("ignore", module=r"PIL\.")


def _delta(adaptive: float | None) -> float | None:
    from emodc.answers import DEFAULT_DELTA

    return DEFAULT_DELTA if adaptive == 0 else adaptive


@app.command(cls=_OptionalDelta, epilog=_EPILOG)
def predict(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH", help="Pictures, folders of pictures, glob patterns."),
    ],
    model: _Model = "face48",
    steps: Annotated[
        int | None,
        typer.Option(
            help="Exactly this many draws for each face. [default: as --adaptive with a calibrated "
            "model, else 20]"
        ),
    ] = None,
    adaptive: _Adaptive = None,
    budget: _Budget = None,
    seed: _Seed = 0,
    detect: Annotated[
        bool,
        typer.Option(
            "--detect/--no-detect", help="Find the faces, or take every picture for a face crop."
        ),
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of objects.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, row by row.")] = False,
    device: _Device = "auto",
) -> None:
    """Name the expression of every face in pictures.

    Every face gets a row; a picture without one, or that cannot be read, gets a row that says so.
    """
    if as_json and as_csv:
        raise ValueError("give --json or --csv, not both")
    from emodc.pictures import picture_paths
    from emodc.predict import EmotionClassifier

    files = picture_paths(paths)
    classifier = EmotionClassifier.from_pretrained(model, device)
    rows: list[Prediction] = []
    stream = classifier.iter_predict(
        files, steps=steps, delta=_delta(adaptive), budget=budget, seed=seed, detect=detect
    )
    keep = csv_writer(classifier.classes_) if as_csv else rows.append
    found: Counter[str] = Counter()
    with progress("pictures", show=not (as_csv and sys.stdout.isatty())) as advance:
        for row in stream:
            keep(row)
            found[row.status] += 1
            if row.status == "unreadable":
                complain(row.error or "")
            advance(row.image + 1, len(files))
    if as_json:
        print_json([row.to_dict() for row in rows])
    elif not as_csv and found["unreadable"] < len(files):
        print_rich(prediction_table(rows))
    if found["no_face"]:
        note = f"no face found in {found['no_face']} of {len(files)} pictures"
        typer.echo(f"emodc: {note}; for pictures of a face crop, give --no-detect", err=True)
    if found["unreadable"]:
        raise typer.Exit(2 if found["unreadable"] == len(files) else 1)


@app.command(cls=_OptionalDelta, epilog=_EPILOG)
def evaluate(
    data: Annotated[str, typer.Option(metavar="NAME:PATH", help="The data set.")],
    model: _Model = "face48",
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    steps: Annotated[int, typer.Option(help="Draws for each image.")] = 100,
    adaptive: _Adaptive = None,
    budget: _Budget = None,
    limit: Annotated[
        int | None, typer.Option(help="Take a stratified subset of this many images.")
    ] = None,
    detect: Annotated[
        bool,
        typer.Option(
            "--detect/--no-detect",
            help="Find, align and crop the faces first, as predict does, or take whole pictures.",
        ),
    ] = False,
    seed: _Seed = 0,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for the report; an evaluation interrupted there goes on."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    device: _Device = "auto",
) -> None:
    """Measure a model on a labelled data set."""
    from emodc.checkpoint import load_model
    from emodc.data import open_data
    from emodc.evaluate import evaluate as run
    from emodc.predict import choose_device
    from emodc.report import evaluation_table

    images = open_data(data, split)
    loaded = load_model(model, choose_device(device))
    with progress("images") as advance:
        report = run(
            loaded,
            images,
            steps=steps,
            delta=_delta(adaptive),
            budget=budget,
            seed=seed,
            limit=limit,
            detect=detect,
            output=output,
            progress=advance,
        )
    if as_json:
        print_json(report)
    else:
        print_rich(evaluation_table(report))
    if faceless := report["n_without_face"]:
        typer.echo(f"emodc: no face found in {faceless} images; the report names them", err=True)
    if unreadable := report["n_skipped"] - faceless:
        complain(f"{unreadable} images could not be read; the report names them")
        raise typer.Exit(1)


@app.command(epilog=_EPILOG)
def calibrate(
    data: Annotated[
        str, typer.Option(metavar="NAME:PATH", help="The data set; its validation split is used.")
    ],
    model: _Model = "face48",
    output: Annotated[
        Path | None,
        typer.Option(help="Where to write the calibrated model. [default: the model's folder]"),
    ] = None,
    split: Annotated[str, typer.Option(help="validation, or test if that is not reported on.")] = (
        "validation"
    ),
    steps: Annotated[int, typer.Option(help="Draws of the answer that is aimed at.")] = 100,
    limit: Annotated[
        int | None, typer.Option(help="Take a stratified subset of this many images.")
    ] = None,
    coverage: Annotated[
        float, typer.Option(help="Share of faces whose true class a prediction set shall hold.")
    ] = 0.9,
    seed: _Seed = 0,
    work: Annotated[
        Path | None,
        typer.Option(help="Folder for measured errors; a calibration interrupted there goes on."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    device: _Device = "auto",
) -> None:
    """Fit probabilities, prediction sets and sequential scoring of a model on validation data."""
    from emodc.calibrate import calibrate as run
    from emodc.checkpoint import load_model, save_model
    from emodc.data import open_data
    from emodc.predict import choose_device
    from emodc.report import calibration_table

    if output is None and not Path(model).is_dir():
        raise ValueError(f"model '{model}' is no folder to write to: give --output FOLDER")
    images = open_data(data, split)
    loaded = load_model(model, choose_device(device))
    with progress("images") as advance:
        calibrated = run(
            loaded,
            images,
            steps=steps,
            limit=limit,
            coverage=coverage,
            seed=seed,
            folder=work,
            progress=advance,
        )
    folder = output or Path(model)
    save_model(calibrated, folder)
    if as_json:
        print_json(calibrated.facts["calibration"])
    else:
        print_rich(calibration_table(calibrated.facts["calibration"]))
    typer.echo(f"emodc: the calibrated model is in {folder}", err=True)


@app.command(epilog=_EPILOG)
def train(
    recipe: Annotated[str, typer.Argument(help="Name (see emodc recipes) or .yaml file.")],
    data: Annotated[
        str | None, typer.Option(metavar="NAME:PATH", help="The data set. [default: the recipe's]")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder of the run; a run found there goes on. [default: runs/NAME]"),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY.PATH=VALUE", help="Change a setting; repeatable."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto or cpu.")] = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the settings only.")] = False,
) -> None:
    """Train a model by a recipe, or go on training it."""
    from emodc.config import dump_recipe, load_recipe

    settings = load_recipe(recipe, changes or ())
    if dry_run:
        typer.echo(dump_recipe(settings), nl=False)
        return
    spec = data or settings.data
    if spec is None:
        raise ValueError(f"recipe '{settings.name}' names no data: give --data NAME:PATH")
    if device not in ("auto", "cpu"):
        raise ValueError(f"--device is auto or cpu in training, not '{device}'")
    import logging

    from emodc.data import open_release
    from emodc.state import TrainingDiverged
    from emodc.train import train as run

    release = open_release(spec)
    training, validation = release.split("train"), release.split("validation")
    folder = output or Path("runs") / settings.name
    logging.basicConfig(format="emodc: %(message)s")
    logging.getLogger("emodc").setLevel(logging.INFO)
    with progress("samples") as advance:

        def report(samples: int, metrics: dict[str, float]) -> None:
            note = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
            if "validation_accuracy" in metrics:
                typer.echo(f"{samples} samples: {note}", err=True)
            advance(samples, settings.samples, f"loss {metrics['loss']:.3g}")

        try:
            run(settings, training, validation, folder, device=device, progress=report)
        except TrainingDiverged as error:
            complain(str(error))
            raise typer.Exit(1) from None
    typer.echo(f"emodc: the model is in {folder}", err=True)


@app.command(epilog=_EPILOG)
def export(
    model: Annotated[str, typer.Argument(help="A run's folder, or any other model.")],
    folder: Annotated[Path, typer.Argument(help="Where to write model and card.")],
    name: Annotated[str | None, typer.Option(help="What the model is called from now on.")] = None,
    half: Annotated[bool, typer.Option("--half", help="Store the weights in float16.")] = False,
    report: Annotated[
        Path | None, typer.Option(help="report.json of an evaluation of FOLDER, for the card.")
    ] = None,
) -> None:
    """Package a trained model for shipping, with its card.

    For a card with results: export, evaluate the exported folder, and export again with --report.
    """
    import json

    from emodc.checkpoint import load_model
    from emodc.export import export_model

    figures = None if report is None else json.loads(report.read_text(encoding="utf-8"))
    export_model(load_model(model), folder, name=name, half=half, report=figures)
    typer.echo(f"emodc: the model is in {folder}", err=True)


@app.command()
def recipes() -> None:
    """List the training recipes that come with the package."""
    from emodc.config import load_recipe, recipe_names

    for name in recipe_names():
        typer.echo(f"{name:20} {load_recipe(name).summary}")
