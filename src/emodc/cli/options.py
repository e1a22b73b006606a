"""Options and help that several commands of the command line share."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

EPILOG = (
    "Exit codes: 0 success; 1 some images could not be read (the others are done), or training "
    "diverged; 2 failure (wrong arguments, no such model, no readable image); 130 interrupted."
)


def _training_device(name: str) -> str:
    if name not in ("auto", "cpu"):
        raise ValueError(f"--device is auto or cpu in training, not '{name}'")
    return name


Data = Annotated[
    str, typer.Option(metavar="NAME:PATH", help="Labeled dataset; see emodc data list.")
]
Crops = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="NAME:PATH",
        help="Dataset of face crops, used as they are; see emodc data list.",
    ),
]
Split = Annotated[str, typer.Option(help="train, validation or test.")]
ModelName = Annotated[
    str, typer.Option("--model", help="Bundled model, model folder, hub id or .yaml file.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
TrainingDevice = Annotated[str, typer.Option(callback=_training_device, help="auto or cpu.")]
Precision = Annotated[
    str,
    typer.Option(
        help="Of the network: fp32, bf16 or fp16; errors are always fp32. Half precision pays off "
        "on GPUs, and bf16 on CPUs with bf16 instructions."
    ),
]
Adaptive = Annotated[
    float | None,
    typer.Option(
        metavar="[DELTA]",
        help="Stop early per face; at most DELTA of the labels may change. Requires a calibrated "
        "model. [default DELTA: 0.02]",
    ),
]
Budget = Annotated[int | None, typer.Option(help="With --adaptive: maximum draws per face.")]
Detector = Annotated[
    str,
    typer.Option(
        help="What finds faces: centerface, or yunet, which is faster and misses more faces that "
        "are blurred or turned."
    ),
]
DetectionThreshold = Annotated[
    float | None,
    typer.Option(
        help="Least score of a face, between 0 and 1. [default: 0.4 for centerface, 0.6 for yunet]"
    ),
]
SmallestFace = Annotated[
    int,
    typer.Option(
        metavar="PIXELS",
        help="Leave out narrower faces; a large number saves time.",
        show_default=False,
    ),
]
WorkingSize = Annotated[
    int,
    typer.Option(
        metavar="PIXELS",
        help="Shrink larger images to this many pixels a side to find faces; more finds smaller "
        "ones, and takes longer.",
    ),
]
Seed = Annotated[
    int, typer.Option(min=0, help="Seed of the draws of (t, eps): same seed, same answer.")
]
Limit = Annotated[int | None, typer.Option(help="Use a stratified subset of this many images.")]
Prior = Annotated[
    str | None,
    typer.Option(
        help="How frequent the classes are where the images come from: training, uniform, "
        "effective, balanced-power=P, FILE.json of emodc adapt, or happiness=0.5,neutral=0.5. "
        "[default: the model's]"
    ),
]
Classes = Annotated[
    str | None,
    typer.Option(metavar="CLASS,CLASS...", help="Answer with these classes alone."),
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Change a setting; repeatable."),
]
Init = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help="Start from the weights of a model: bundled model, folder or hub id. Its classes may "
        "differ.",
    ),
]
Html = Annotated[
    Path | None,
    typer.Option(
        "--html", metavar="FILE", help="Write the report there too, as one HTML file for people."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the estimated cost and stop.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]

_DEFAULT_DELTA = math.nan  # stands for the default, whose module is slow to load


class OptionalDelta(TyperCommand):
    """Lets ``--adaptive`` stand alone or be followed by a number."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put a number after every ``--adaptive`` that has none."""
        end = args.index("--") if "--" in args else len(args)
        given = list(args)
        for place in range(end):
            following = args[place + 1] if place + 1 < end else ""
            if args[place] == "--adaptive" and not _is_number(following):
                given[place] = f"--adaptive={_DEFAULT_DELTA}"
        return super().parse_args(ctx, given)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def chosen_delta(adaptive: float | None) -> float | None:
    """Return the ``delta`` that ``--adaptive`` asks for."""
    from emodc.inference.scorer import DEFAULT_DELTA

    return DEFAULT_DELTA if adaptive is not None and math.isnan(adaptive) else adaptive


def chosen_classes(classes: str | None) -> list[str] | None:
    """Return the names that ``--classes`` lists."""
    return None if classes is None else [name for name in classes.split(",") if name.strip()]


def names_to_show(own: Sequence[str], asked: Sequence[str]) -> list[str]:
    """Name each model as it calls itself, or as it was asked for where two agree.

    Args:
        own: what the models call themselves.
        asked: what was asked for, one for each.

    Raises:
        ValueError: two still agree.
    """
    shown = [
        name if own.count(name) == 1 else wanted for name, wanted in zip(own, asked, strict=True)
    ]
    if len(set(shown)) < len(shown):
        raise ValueError(
            f"{', '.join(shown)}: models to compare need different names; give each one once"
        )
    return shown
