"""What an evaluation says: the figures of a classifier on a dataset, and how they came about."""

import json
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from emodc.support.files import write_atomically
from emodc.support.parsing import MAX_TEXT_BYTES, read_json
from emodc.support.text import printable

_NO_REPORT = "not the report of an evaluation"
_REMEDY = "give the report.json that emodc evaluate --output FOLDER wrote"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ClassFigures(_Part):
    """Figures of one class; None where they are undefined.

    Attributes:
        precision: share of the images given this class that are of it.
        recall: share of its images that were given it.
        f1: their harmonic mean.
        support: its images.
    """

    precision: float | None
    recall: float | None
    f1: float | None
    support: int


class PredictionSets(_Part):
    """How often prediction sets hold the truth, and their sizes.

    Attributes:
        wanted_coverage: share of images whose true class they shall hold.
        coverage: share whose true class they hold.
        mean_size: classes in a set.
        share_of_single: share of sets with one class.
    """

    wanted_coverage: float
    coverage: float
    mean_size: float
    share_of_single: float


class GroupFigures(_Part):
    """Figures of the images with one value of an attribute."""

    n_images: int
    accuracy: float
    accuracy_ci95: tuple[float, float]
    mean_class_accuracy: float


class EvaluatedModel(_Part):
    """What was evaluated.

    Attributes:
        name: of the model.
        precision: in which it computed.
        weights_sha256: see `emodc.model.identity.weights_hash`.
        decision: see `emodc.model.decision.Decision`.
        prior: of its answers, by class; empty if the model does not know its own.
        classes_left_out: those that the data lack.
    """

    name: str
    precision: str = "fp32"
    weights_sha256: str
    decision: dict[str, Any]
    prior: dict[str, float] = {}
    classes_left_out: list[str]


class EvaluatedData(_Part):
    """On what it was evaluated.

    Attributes:
        name: of the dataset.
        split: of it.
        fingerprint: of the images that were scored.
        notes: see `emodc.data.face_data.FaceData`.
        classes_left_out: those that the model lacks.
        images_left_out: images of these.
    """

    name: str
    split: str
    fingerprint: str
    notes: dict[str, Any]
    classes_left_out: list[str]
    images_left_out: int


class SkippedImage(_Part):
    """An image that could not be scored."""

    id: str
    reason: str


class TimestepError(_Part):
    """The mean error under the true class, d_p, at a timestep."""

    t: int
    d_p: float


class EvaluationReport(_Part):
    """What `emodc.evaluation.evaluate.evaluate` found; ``report.json`` has the same names.

    Attributes:
        accuracy, accuracy_ci95, mean_class_accuracy, macro_f1, nll, ece, n_images, chance,
            majority_class_floor, per_class, confusion, labels: see
            `emodc.evaluation.metrics.summarize`.
        trunk_passes_per_image: draws for an image.
        prompt_evaluations_per_image: (draw, prompt) pairs for an image.
        seconds_per_image: spent on reading, encoding and scoring.
        prediction_sets: for a calibrated model.
        steps: S, the draws of plain scoring, or those that sequential scoring may take.
        delta, budget: of sequential scoring; None for plain scoring.
        seed: of the draws and of the choice of images.
        limit: size of the subset, if one was chosen.
        model: what was evaluated.
        data: on what.
        detect: whether faces were found and aligned first.
        groups: by attribute and value.
        n_skipped: images that could not be scored, those without a face included.
        n_without_face: images in which no face was found.
        skipped: which ones.
        error_by_timestep: of plain scoring; empty otherwise.
        versions: of emodc and torch.
    """

    accuracy: float
    accuracy_ci95: tuple[float, float]
    mean_class_accuracy: float
    macro_f1: float
    nll: float
    ece: float
    n_images: int
    chance: float
    majority_class_floor: float
    per_class: dict[str, ClassFigures]
    confusion: list[list[int]]
    labels: list[str]
    trunk_passes_per_image: float
    prompt_evaluations_per_image: float
    seconds_per_image: float
    prediction_sets: PredictionSets | None = None
    steps: int
    delta: float | None = None
    budget: int | None = None
    seed: int
    limit: int | None = None
    model: EvaluatedModel
    data: EvaluatedData
    detect: bool = False
    groups: dict[str, dict[str, GroupFigures]]
    n_skipped: int
    n_without_face: int
    skipped: list[SkippedImage]
    error_by_timestep: list[TimestepError]
    versions: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return what ``report.json`` holds."""
        unknown = {} if self.model.prior else {"model": {"prior"}}
        return self.model_dump(mode="json", exclude=unknown)

    @classmethod
    def from_json(cls, values: Any, source: str = "the report") -> Self:
        """Return the report that ``report.json`` holds.

        Args:
            values: what `to_json` returned.
            source: names the report in error messages.

        Raises:
            ValueError: they are not those of a report.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, problem["loc"]))
            reason = f"{where}: {problem['msg']}" if where else problem["msg"]
            raise ValueError(f"{source}: {_NO_REPORT} ({reason}); {_REMEDY}") from None

    def write(self, file: Path) -> None:
        """Write ``report.json``.

        Raises:
            OSError: the file cannot be written.
        """
        text = json.dumps(self.to_json(), indent=2, allow_nan=False) + "\n"
        write_atomically(file, text.encode())

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read a ``report.json``.

        Raises:
            ValueError: it cannot be read, or holds something else.
        """
        try:
            values = read_json(file, MAX_TEXT_BYTES)
        except ValueError as error:
            raise ValueError(f"{error}; {_REMEDY}") from None
        return cls.from_json(values, printable(str(file)))
