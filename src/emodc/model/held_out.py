"""The validation images that certify a decision, kept with the weights.

Whatever prior a user asks for, its prediction sets and stopping thresholds must be tested on images
under that prior. These are the errors of the images that fitted nothing, so that this needs neither
the images nor the network.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from emodc.method.label_shift import class_weights, least_probabilities
from emodc.method.sequential import draw_order
from emodc.method.stopping import stopping_thresholds
from emodc.model.adaptive import Adaptive, Stop
from emodc.model.decision import Decision
from emodc.support.tensors import pack_tensors, unpack_tensors

_MOST_IMAGES = 100_000


@dataclass(frozen=True)
class HeldOut:
    """Errors of validation images that fitted nothing.

    Attributes:
        errors: (N, K, S) float16, less their mean over the classes: only differences count.
        labels: (N,) int64, true classes.
    """

    errors: Tensor
    labels: Tensor

    @classmethod
    def of(cls, errors: Tensor, labels: Tensor) -> "HeldOut":
        """Return what to keep of errors (N, K, S) float32 and labels (N,)."""
        return cls((errors - errors.mean(dim=1, keepdim=True)).half(), labels)

    def pack(self) -> bytes:
        """Return the content of a file."""
        return pack_tensors({"errors": self.errors, "labels": self.labels})

    @classmethod
    def unpack(cls, content: bytes, classes: int) -> "HeldOut":
        """Read what `pack` returned.

        Args:
            content: of the file.
            classes: K.

        Raises:
            ValueError: it is something else.
        """
        tensors = unpack_tensors(content)
        errors, labels = tensors.get("errors"), tensors.get("labels")
        if (
            errors is None
            or labels is None
            or errors.dtype != torch.float16
            or labels.dtype != torch.int64
            or errors.ndim != 3
            or errors.shape[1] != classes
            or not 0 < len(errors) <= _MOST_IMAGES
            or labels.shape != errors.shape[:1]
            or not bool(errors.isfinite().all())
            or not bool(((labels >= 0) & (labels < classes)).all())
        ):
            raise ValueError("not the errors of held-out images")
        return cls(errors, labels)

    def certify(self, decision: Decision, timesteps: int) -> Decision:
        """Return a decision whose sets and thresholds hold under its prior, with its classes.

        Args:
            decision: fitted on other images; its scales and powers stay.
            timesteps: T.

        Returns:
            The decision with `Decision.least_probability` by weighted conformal prediction, if it
            has a coverage; and with the stops of `Decision.adaptive` that weighted tests
            certify, if it has any.
        """
        count, steps = self.errors.shape[1:]
        columns = decision.columns(count)
        place = torch.full((count,), -1).scatter(0, columns, torch.arange(len(columns)))
        among = place[self.labels] >= 0
        shown, labels = self.errors[among].float(), place[self.labels[among]]
        weights = torch.ones(len(columns), dtype=torch.float64)
        if (shift := decision.population()) is not None:
            shares = torch.tensor(shift, dtype=torch.float64)[columns]
            weights = class_weights(labels, shares / shares.sum())
        t = decision.timesteps(timesteps, steps)
        changes: dict[str, object] = {}
        if decision.coverage is not None:
            p = decision.probabilities(shown, t, timesteps)
            least = least_probabilities(p, labels, decision.coverage, weights)
            changes["least_probability"] = _of_all(least, columns, count)
        if decision.adaptive is not None:
            changes["adaptive"] = self._certified(
                decision, decision.adaptive, shown[:, columns], labels, weights, timesteps
            )
        return decision.model_copy(update=changes)

    def _certified(
        self,
        decision: Decision,
        adaptive: Adaptive,
        errors: Tensor,
        labels: Tensor,
        weights: Tensor,
        timesteps: int,
    ) -> Adaptive | None:
        """Return the stops that are certified on errors (N, K', S) with class weights (K',)."""
        count, steps = self.errors.shape[1:]
        if adaptive.steps != steps:  # of another calibration
            return None
        t = decision.timesteps(timesteps, steps)
        found = stopping_thresholds(
            errors,
            decision.weights_at(t, timesteps),
            adaptive.forecast(*decision.within(t, timesteps), draw_order(steps)),
            adaptive.block,
            adaptive.confidence,
            handicap=decision.handicap(count),
            counts_for=weights[labels],
        )
        stops = []
        for delta, (threshold, outcome) in found.items():
            fitted = adaptive.nearest(threshold)
            stop = Stop(
                delta=delta,
                threshold=threshold,
                scale=fitted.scale,
                power=fitted.power,
                least_probability=(0.0,),
            )
            if decision.coverage is not None:
                p = stop.probabilities(outcome.gaps)
                least = least_probabilities(p, labels, decision.coverage, weights)
                kept = _of_all(least, decision.columns(count), count)
                stop = stop.model_copy(update={"least_probability": kept})
            stops.append(stop)
        return adaptive.model_copy(update={"stops": tuple(stops)}) if stops else None


def _of_all(least: Tensor, columns: Tensor, count: int) -> tuple[float, ...]:
    """Return thresholds for all classes: 1 for those that are not answered with."""
    every = torch.ones(count, dtype=torch.float64).scatter(0, columns, least)
    return tuple(every.tolist())
