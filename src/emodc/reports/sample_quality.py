"""What a judge said of generated faces: the figures, and a table for the terminal."""

from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from emodc.reports.evaluation import plain_table


@dataclass(frozen=True)
class SampleQuality:
    """What the judge said of the generated faces.

    Attributes:
        model: name of the generator.
        weights_sha256: of its weights.
        judge: name of the classifier that judges.
        data: name of the real faces.
        images: real faces that the generated ones are compared with.
        per_class: faces generated of each class.
        steps: of the sampler.
        guidance: classifier-free guidance scale.
        sampler: its name.
        seed: of the noise.
        read_as_asked: share of the faces that the judge reads as what was asked for, by class.
        read_as_asked_ci95: Wilson's interval of each.
        mean_read_as_asked: mean over the classes.
        confusion: rows: asked for; columns: read; counts, in the order of ``read_as_asked``.
        frechet: distance of the generated faces to the real ones, classes in the shares that the
            real ones have.
        frechet_floor: distance to the same real ones of training faces: as many as the generated
            ones are worth once they are weighted by those shares (Kish's effective sample size).
    """

    model: str
    weights_sha256: str
    judge: str
    data: str
    images: int
    per_class: int
    steps: int
    guidance: float
    sampler: str
    seed: int
    read_as_asked: dict[str, float]
    read_as_asked_ci95: dict[str, list[float]]
    mean_read_as_asked: float
    confusion: list[list[int]]
    frechet: float
    frechet_floor: float

    def to_json(self) -> dict[str, Any]:
        """Return the attributes by name, ready for JSON."""
        return asdict(self)


def quality_table(report: SampleQuality) -> RenderableType:
    """Return the readable form of a report, for a rich console."""
    title = f"{report.per_class:,} faces per class by {report.model}, read by {report.judge}"
    table = plain_table(title, "asked for", "read so", "95 % CI", "else mostly")
    names = list(report.read_as_asked)
    for name, counts in zip(names, report.confusion, strict=True):
        low, high = report.read_as_asked_ci95[name]
        others = [(n, other) for n, other in zip(counts, names, strict=True) if other != name]
        most, other = max(others)
        instead = f"{other} {most / report.per_class:.2f}" if most else ""
        table.add_row(
            Text(name), f"{report.read_as_asked[name]:.2f}", f"{low:.2f} to {high:.2f}", instead
        )
    table.add_row("mean", f"{report.mean_read_as_asked:.3f}")
    return Group(
        table,
        Text(
            f"{report.sampler}, {report.steps} steps, guidance {report.guidance:g}, seed "
            f"{report.seed}. Fréchet distance to {report.images:,} faces of {report.data}: "
            f"{report.frechet:.1f}; of training faces: {report.frechet_floor:.1f}"
        ),
    )
