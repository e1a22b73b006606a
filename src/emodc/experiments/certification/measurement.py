"""The votes of smoothed classifiers for the same faces, each part kept when it is finished."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from emodc.attacks.gradient import GradientAttack
from emodc.attacks.search import FreshDraws
from emodc.attacks.threat_model import Images
from emodc.data.face_data import FaceData
from emodc.evaluation.face_sample import choose_sample, shared_columns
from emodc.inference.smoothing import (
    ALPHA,
    Certificate,
    Smoothing,
    certificate,
    least_share,
    votes,
)
from emodc.inference.victim import smoothed_victim
from emodc.model.identity import model_identity
from emodc.model.model import Model
from emodc.support.results import Result, load_result, save_result
from emodc.support.text import folder_name
from emodc.support.timing import Cost, Progress, seconds_of, unheard

VOTES = "votes"
"""The folder of finished results, within that of the report."""

_PART = 5  # faces between two saves: each takes many network evaluations
_PROBED = 16  # noisy images that the speed is measured on
_ATTACK = GradientAttack(method="pgd", loss="ce", steps=20, stop_when_fooled=False)
_EOT = 8  # noises that the attack averages over in each step
_WITHIN = 0.99  # of the certified radius, at which an attack must fail


@dataclass(frozen=True)
class Certified:
    """What is certain of a model's answers at one noise level.

    Attributes:
        right: (N,) bool, whether the certified answer is the true class.
        radius: (N,) float64; 0 where the smoothed classifier abstains.
        abstained: (N,) bool.
    """

    right: Tensor
    radius: Tensor
    abstained: Tensor


@dataclass(frozen=True)
class Attacked:
    """Whether attacks within the certified radius altered certified answers.

    Attributes:
        faces: attacked, all of them certified.
        broken: faces whose answer certainly is another on the attacked image; a certificate is
            wrong with a probability of at most alpha.
    """

    faces: int
    broken: int


class Certification:
    """Smoothed classifiers on the same faces.

    Args:
        models: by the name that the report uses.
        data: face crops.
        output: the folder where finished results are kept and found again.
        smoothings: how the models are smoothed, by rising noise.
        limit: take a stratified subset of this many faces.
        alpha: see `emodc.inference.smoothing.certificate`.
        attacked: certified faces of each model that are attacked, at the least noise.

    Attributes:
        sample: the faces.

    Raises:
        ValueError: no noise level, ``alpha`` or ``steps`` out of range, fewer than two classes in
            common, or no readable face.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        data: FaceData,
        output: Path,
        smoothings: Sequence[Smoothing],
        *,
        limit: int | None = None,
        alpha: float = ALPHA,
        attacked: int = 0,
    ) -> None:
        if not smoothings:
            raise ValueError("give at least one sigma to smooth with")
        certificate(torch.ones(2, 2), 1.0, alpha)  # refuses what is wrong before hours of work
        for model in models.values():
            model.draws_taken(smoothings[0].steps)
        self.models, self.smoothings, self.alpha = dict(models), tuple(smoothings), alpha
        label_sets = [model.answers for model in models.values()]
        self.sample = choose_sample(data, label_sets, limit, smoothings[0].seed)
        self.attacked = attacked
        self._folder = output / VOTES

    def costs(self) -> list[Cost]:
        """Measure how fast the models are, and return what is still to be done for each."""
        costs = []
        for name, model in self.models.items():
            missing = [
                (smoothing, len(rows))
                for smoothing in self.smoothings
                for rows in self._parts()
                if self._load(name, smoothing, rows) is None
            ]
            images = sum(
                (smoothing.selection + smoothing.estimation) * faces for smoothing, faces in missing
            )
            amounts = {
                "faces": sum(faces for _, faces in missing),
                "noisy images": images,
            }
            costs.append(Cost(name, amounts, images * self._seconds(model) if images else 0.0))
        return costs

    def run(self, progress: Progress = unheard) -> None:
        """Measure what is missing.

        Args:
            progress: is told how far it is.

        Raises:
            ValueError: the folder holds results of something else, or a damaged one; or a model
                answers NaN.
            OSError: the folder cannot be written.
        """
        tasks = [
            (name, smoothing, rows)
            for name in self.models
            for smoothing in self.smoothings
            for rows in self._parts()
            if self._load(name, smoothing, rows) is None
        ]
        done, total = 0, sum(len(rows) for *_, rows in tasks)
        for name, smoothing, rows in tasks:
            counts = []
            for row in rows:
                progress(done, total, f"{name}, sigma {smoothing.sigma:g}")
                model = self.models[name]
                counts.append(votes(model, self._pixels(model, row), smoothing, self._number(row)))
                done += 1
            file, identity = self._file(name, smoothing, f"{rows.start:05d}")
            save_result(file, Result({"counts": torch.stack(counts)}, {}), identity)
        progress(total, total, "")

    def certified(self, name: str, smoothing: Smoothing) -> Certified:
        """Return what is certain of a model's answers.

        Raises:
            ValueError: it was not measured yet.
        """
        found = self._certificates(name, smoothing)
        columns = shared_columns(self.models[name].answers, self.sample.classes)
        truth = columns[self.sample.labels].tolist()
        return Certified(
            right=torch.tensor([c.label == true for c, true in zip(found, truth, strict=True)]),
            radius=torch.tensor([c.radius for c in found], dtype=torch.float64),
            abstained=torch.tensor([c.label is None for c in found]),
        )

    def attack(self, name: str, smoothing: Smoothing, progress: Progress = unheard) -> Attacked:
        """Attack certified faces just within their radius; none may fall.

        Projected gradient descent through the noise (Salman et al., NeurIPS 2019). Afterwards the
        smoothed classifier is asked again, with noise of its own.

        Args:
            name: of the model, whose network must have gradients.
            smoothing: at which noise.
            progress: is told how far it is.
        """
        found = self._certificates(name, smoothing)
        certain = [row for row, c in enumerate(found) if c.label is not None][: self.attacked]
        broken = 0
        for done, row in enumerate(certain):
            progress(done, len(certain), f"{name} under attack")
            counts = self._attacked(name, smoothing, row, found[row])
            label = found[row].label
            assert label is not None  # it is certain
            named, asked = int(counts[label]), int(counts.sum())
            broken += 1 - least_share(asked - named, asked, self.alpha) < 0.5
        return Attacked(len(certain), broken)

    def _attacked(self, name: str, smoothing: Smoothing, row: int, held: Certificate) -> Tensor:
        """Return the votes (K,) on a face that was attacked within its certified radius."""
        model = self.models[name]
        file, identity = self._file(name, smoothing, f"attacked-{row:05d}")
        identity |= {"radius": f"{held.radius:.9g}"}
        if (kept := load_result(file, identity, ("counts",))) is not None:
            return kept.tensors["counts"]
        pixels, number = self._pixels(model, row).unsqueeze(0), self._number(row)
        labels, index = (torch.tensor([n], device=pixels.device) for n in (held.label, number))
        moved = _ATTACK(
            smoothed_victim(model, smoothing),
            Images(pixels, labels, index),
            _WITHIN * held.radius,
            "l2",
            FreshDraws(_EOT, smoothing.seed),
            smoothing.seed,
        ).pixels[0]
        counts = votes(model, moved, smoothing, number)[1]
        save_result(file, Result({"counts": counts}, {}), identity)
        return counts

    def _certificates(self, name: str, smoothing: Smoothing) -> list[Certificate]:
        found: list[Certificate] = []
        for rows in self._parts():
            part = self._load(name, smoothing, rows)
            if part is None:
                raise ValueError(f"{name} was not measured yet at sigma {smoothing.sigma:g}")
            counts = part.tensors["counts"]
            found += [certificate(c, smoothing.sigma, self.alpha) for c in counts]
        return found

    def _parts(self) -> list[range]:
        faces = len(self.sample.labels)
        return [range(n, min(n + _PART, faces)) for n in range(0, faces, _PART)]

    def _number(self, row: int) -> int:
        return int(self.sample.index[row])

    def _pixels(self, model: Model, row: int) -> Tensor:
        """Return a face as the model's codec takes it, (C, H, W) in [0, 1]."""
        pixels = model.settings.codec.to_pixels([self.sample.data.image(row)])
        return pixels[0].to(model.device).float() / 255

    def _seconds(self, model: Model) -> float:
        """Return how long a noisy image takes."""
        probe = Smoothing(self.smoothings[0].sigma, 1, _PROBED - 1, self.smoothings[0].steps)
        pixels = self._pixels(model, 0)
        return seconds_of(lambda: votes(model, pixels, probe)) / _PROBED

    def _load(self, name: str, smoothing: Smoothing, rows: range) -> Result | None:
        file, identity = self._file(name, smoothing, f"{rows.start:05d}")
        return load_result(file, identity, ("counts",))

    def _file(self, name: str, smoothing: Smoothing, part: str) -> tuple[Path, dict[str, str]]:
        model = self.models[name]
        identity = {
            **model_identity(model),
            "decision": model.decision.model_dump_json(),
            "data": self.sample.data.fingerprint(),
            **{key: str(value) for key, value in vars(smoothing).items()},
        }
        file = f"sigma-{smoothing.sigma:g}-{part}.safetensors"
        return self._folder / folder_name(name) / file, identity
