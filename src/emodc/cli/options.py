"""Options and help that several commands of the command line share."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

EPILOG = (
    "Exit codes: 0 done; 1 some images could not be read (the others are done), or training "
    "diverged; 2 nothing could be done (wrong arguments, no such model, no readable image); "
    "130 interrupted."
)

ModelName = Annotated[
    str, typer.Option("--model", help="A bundled model's name, a model's folder or a hub id.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Precision = Annotated[
    str,
    typer.Option(
        help="fp32, bf16 or fp16: of the network; errors are fp32. Halves pay on GPUs, and bf16 on "
        "CPUs with instructions for it."
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
Budget = Annotated[int | None, typer.Option(help="Most draws for a face.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the draws: same seed, same answer.")]
Limit = Annotated[int | None, typer.Option(help="Take a stratified subset of this many images.")]


_USUAL = -1.0  # what ``--adaptive`` alone stands for: the default, which need not be loaded


class OptionalDelta(TyperCommand):
    """Lets ``--adaptive`` stand alone or be followed by a number."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put a number after every ``--adaptive``."""
        given = list(args)
        if "--adaptive" in given:
            place = given.index("--adaptive")
            if not _is_number(given[place + 1] if place + 1 < len(given) else ""):
                given[place] = f"--adaptive={_USUAL}"
        return super().parse_args(ctx, given)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


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
        raise ValueError(f"models to compare need names of their own: {', '.join(shown)}")
    return shown


def chosen_delta(adaptive: float | None) -> float | None:
    """Return the ``delta`` that ``--adaptive`` asks for."""
    from emodc.inference.scorer import DEFAULT_DELTA

    return DEFAULT_DELTA if adaptive == _USUAL else adaptive
