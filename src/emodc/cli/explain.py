"""The command ``emodc explain``: where in a face the evidence lies."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emodc.cli.console import note, print_json, print_rich
from emodc.cli.options import Device, ModelName, Precision, Prior, Seed

if TYPE_CHECKING:
    from rich.console import RenderableType

    from emodc.explain.explanation import Explanation


def explain(
    photo: Annotated[str, typer.Argument(metavar="PHOTO", help="Image with a face.")],
    label: Annotated[
        str | None,
        typer.Option("--class", help="Class to explain. [default: the most probable one]"),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="Class to compare it with. [default: the most probable other one]"),
    ] = None,
    face: Annotated[int, typer.Option(min=0, help="Number of the face, largest first.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Figure (.png, .svg, .pdf) or numbers (.json). [default: PHOTO-explained.png in "
            "this folder, without --json]",
        ),
    ] = None,
    model: ModelName = "face48",
    prior: Prior = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Draws of (t, eps). [default: all that the model was calibrated for, else 100]"
        ),
    ] = None,
    seed: Seed = 0,
    detect: Annotated[
        bool,
        typer.Option(
            "--detect/--no-detect", help="Detect the faces, or treat the image as a face crop."
        ),
    ] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all numbers, the map included, as JSON.")
    ] = False,
    device: Device = "auto",
    precision: Precision = "fp32",
) -> None:
    """Show where in a face the evidence for one expression against another lies.

    The map adds up to the difference of the two classes' scores. It takes a diffusion model.
    """
    from emodc.explain.explanation import check_ending
    from emodc.inference.classifier import EmotionClassifier
    from emodc.reports.figures import require_matplotlib

    if output is None and not as_json:
        output = Path(f"{Path(photo).stem}-explained.png")
    if output is not None:
        check_ending(output)
        if not output.parent.is_dir():
            raise ValueError(f"--output {output}: there is no folder {output.parent}")
        if output.suffix.lower() != ".json":
            require_matplotlib()
    classifier = EmotionClassifier.from_pretrained(model, device, precision, prior=prior)
    explanation = classifier.explain(
        photo,
        label=label,
        against=against,
        face=face,
        from_crops=not detect,
        steps=steps,
        seed=seed,
    )
    if as_json:
        print_json(explanation.to_dict())
    else:
        print_rich(_table(explanation))
    if output is not None:
        explanation.save(output)
        note(f"the explanation is {output}")
    note(
        "a map says where the noise is predicted better, not which part of the face decided; how "
        "faithful maps are was measured, see docs/explanations.md"
    )


def _table(explanation: "Explanation") -> "RenderableType":
    """Return the difference of the logits by part of the face and by noise level."""
    from rich.table import Table

    evidence, geometry = explanation.evidence, explanation.geometry
    a, b, p = explanation.label, explanation.against, evidence.probabilities
    table = Table(
        "part",
        f"evidence for {a} against {b}",
        title=f"{a} {p[a]:.1%}, {b} {p[b]:.1%}",
        title_justify="left",
    )
    if geometry is not None:
        for name, value in evidence.by_region(geometry).items():
            table.add_row(name, f"{value:+.2f}")
        table.add_section()
    for band in evidence.bands:
        table.add_row(f"noise {band.low:.2g} to {band.high:.2g}", f"{band.total:+.2f}")
    table.add_section()
    if evidence.prior:
        table.add_row("class prior, in no pixel", f"{evidence.prior:+.2f}")
    total = f"{evidence.difference:+.2f} ± {evidence.difference_error:.2f}"
    table.add_row("difference of the logits", total, style="bold")
    return table
