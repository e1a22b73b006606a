"""What a training run needs in order to go on after it was interrupted."""

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emodc.backbones.base import Network
from emodc.support.files import one_line, whole_file
from emodc.support.fsdp import split_like, whole
from emodc.support.parsing import parse_json, parse_yaml
from emodc.support.tensors import read_metadata, read_tensors, write_tensors
from emodc.training.optimizers import Muon, build_adamw
from emodc.training.recipe import OptimizerSettings, dump_recipe, parse_recipe

_KEY = "emodc"


class TrainingDiverged(RuntimeError):
    """The loss is no longer a number; the run's checkpoints are from before that.

    Args:
        what: what is wrong.
        samples: training samples seen.
    """

    def __init__(self, what: str, samples: int) -> None:
        super().__init__(
            f"the {what} after {samples} samples; checkpoints are as they were before. Train anew "
            "in another folder with lower optimizer.learning_rate and "
            "optimizer.muon_learning_rate, or precision=fp32"
        )


@dataclass
class RunState:
    """Weights, their average, optimizers and progress; the seed and this decide the rest.

    Attributes:
        backbone: the weights that are trained.
        average: the exponential moving average that is validated and shipped; it shares the
            weights that are not trained.
        optimizers: the optimizers by name.
        identity: what must be the same when a run goes on: recipe, data and initial model.
        samples: training samples seen.
        best: best validation score so far, or -1.
        unlogged: what `emodc.training.log.Meter` holds of samples that no line tells yet.
    """

    backbone: Network
    average: Network
    optimizers: dict[str, torch.optim.Optimizer]
    identity: dict[str, str]
    samples: int = 0
    best: float = -1.0
    unlogged: Mapping[str, Any] = field(default_factory=dict)
    _names: dict[Tensor, str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._names = {weight: name for name, weight in self.backbone.trained().items()}

    @classmethod
    def fresh(
        cls,
        backbone: Network,
        settings: OptimizerSettings,
        identity: dict[str, str],
        *,
        split: bool = False,
    ) -> "RunState":
        """Return the state before the first sample.

        Args:
            backbone: the weights to begin with.
            settings: of the optimizers.
            identity: see `RunState`.
            split: over all processes, the weights and the optimizers; the average stays whole.

        Raises:
            ValueError: the backbone, or the optimizer, cannot be split.
        """
        trained = set(backbone.trained().values())
        frozen = {id(weight): weight for weight in backbone.parameters() if weight not in trained}
        average = copy.deepcopy(backbone, frozen).requires_grad_(False).eval()
        if split:
            if settings.eight_bit:
                raise ValueError("FSDP does not go with optimizer.eight_bit")
            backbone.split()
        return cls(backbone, average, build_optimizers(backbone, settings), identity)

    @torch.no_grad()
    def step(self, rate: float, settings: OptimizerSettings, batch_size: int, ema: int) -> None:
        """Update the weights at ``rate`` times the peak learning rates, then their average."""
        peaks = {"adamw": settings.learning_rate, "muon": settings.muon_learning_rate}
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = peaks[name] * rate
            optimizer.step()
            optimizer.zero_grad()
        self.samples += batch_size
        # Early on the average must forget the start faster than its half-life would.
        steps = self.samples / batch_size
        keep = min(0.5 ** (batch_size / ema), steps / (steps + 10)) if ema else 0.0
        average = self.average.trained()
        for name, weight in self.backbone.trained().items():
            average[name].lerp_(whole(weight), 1 - keep)

    def save(self, path: Path, *, write: bool = True) -> None:
        """Write the state atomically.

        Args:
            path: the file.
            write: whether this process does; weights that are split are put together by all.

        Raises:
            OSError: the disk is full or not writable; an earlier state is kept.
        """
        tensors: dict[str, Tensor] = {}
        for name, tensor in self._tensors():
            full = whole(tensor)
            if write:
                tensors[name] = full.cpu()
        if not write:
            return
        progress = {
            "samples": self.samples,
            "best": self.best,
            "unlogged": self.unlogged,
            "identity": self.identity,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            write_tensors(file, tensors, {_KEY: json.dumps(progress)})

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the weights, their average and the optimizers' moments by name."""
        for prefix, module in (("weights", self.backbone), ("average", self.average)):
            for name, weight in module.trained().items():
                yield f"{prefix}/{name}", weight
        for name, optimizer in self.optimizers.items():
            for owner, moments in optimizer.state.items():
                for key, value in moments.items():
                    yield f"{name}/{key}/{self._names[owner]}", torch.as_tensor(value)

    def load(self, path: Path) -> None:
        """Go on from a file that `save` wrote.

        Raises:
            ValueError: the file is damaged, or of a run with another recipe or other data.
        """
        progress = read_progress(path, self.identity)
        try:
            self._take(read_tensors(path).tensors)
        except (ValueError, KeyError, RuntimeError) as error:
            raise ValueError(_damaged(path, error)) from None
        self.samples, self.best = progress["samples"], progress["best"]
        self.unlogged = progress.get("unlogged", {})

    def _take(self, tensors: Mapping[str, Tensor]) -> None:
        _copy_into(self.backbone, tensors, "weights")
        _copy_into(self.average, tensors, "average")
        weights = self.backbone.trained()
        for name, optimizer in self.optimizers.items():
            optimizer.state.clear()
            for full_key, tensor in tensors.items():
                owner, _, rest = full_key.partition("/")
                if owner == name:
                    key, _, weight = rest.partition("/")
                    optimizer.state[weights[weight]][key] = _like(weights[weight], tensor)


def read_progress(path: Path, identity: Mapping[str, str]) -> dict[str, Any]:
    """Return ``samples`` and ``best`` of a state that `RunState.save` wrote, without its tensors.

    Args:
        path: the file.
        identity: as in `RunState`.

    Raises:
        ValueError: the file is damaged, or of a run with another recipe or other data.
    """
    try:
        progress: dict[str, Any] = parse_json(read_metadata(path)[_KEY], _KEY)
        told = (progress["samples"], progress["best"], progress["identity"])
        if not (isinstance(told[0], int) and told[0] >= 0 and isinstance(told[2], dict)):
            raise ValueError("its progress makes no sense")
        if not _is_held(progress.get("unlogged", {})):
            raise ValueError("its unlogged metrics make no sense")
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(_damaged(path, error)) from None
    saved = progress["identity"]
    for what in saved | dict(identity):
        if what not in saved or _present(what, saved[what]) != identity.get(what):
            raise ValueError(
                f"{path.parent}: holds a run with another {what}; choose another --output"
            )
    return progress


def build_optimizers(
    backbone: Network, settings: OptimizerSettings
) -> dict[str, torch.optim.Optimizer]:
    """Return Muon for the hidden layers' matrices and AdamW for the rest of what is trained."""
    hidden = backbone.hidden_weights() if settings.muon_learning_rate > 0 else []
    taken = set(hidden)
    rest = [weight for weight in backbone.trained().values() if weight not in taken]
    adamw = build_adamw(
        [
            {"params": [w for w in rest if w.ndim > 1], "weight_decay": settings.weight_decay},
            {"params": [w for w in rest if w.ndim <= 1], "weight_decay": 0.0},
        ],
        settings.learning_rate,
        settings.eight_bit,
    )
    optimizers: dict[str, torch.optim.Optimizer] = {"adamw": adamw}
    if hidden:
        optimizers["muon"] = Muon(
            hidden, lr=settings.muon_learning_rate, weight_decay=settings.weight_decay
        )
    return optimizers


def _is_held(value: object) -> bool:
    """Tell whether a value is what `emodc.training.log.Meter.held` returns."""
    if value == {}:
        return True
    if not isinstance(value, dict) or value.keys() != {"steps", "sums"}:
        return False
    steps, sums = value["steps"], value["sums"]
    return (
        type(steps) is int
        and steps > 0
        and isinstance(sums, list)
        and all(isinstance(part, dict) for part in sums)
        and all(
            isinstance(both, list) and [type(number) for number in both] == [float, float]
            for part in sums
            for both in part.values()
        )
    )


def _damaged(path: Path, error: Exception) -> str:
    return f"{path}: not a training state, or damaged ({one_line(error)}); delete it"


def _present(what: str, value: str) -> str:
    """Return a part of a run's identity as it would be written now: a recipe may have new keys."""
    if what != "recipe":
        return value
    try:
        return dump_recipe(parse_recipe(parse_yaml(value, what), what))
    except ValueError:  # it has keys that are no more
        return value


@torch.no_grad()
def _like(weight: Tensor, moment: Tensor) -> Tensor:
    """Place a moment, a step counter or what quantized moments need, as its weight is.

    The memory layout matters: sums over another order of the same numbers round differently.
    """
    if moment.ndim == 0 or moment.shape != weight.shape:
        return moment.to(weight.device)
    return torch.empty_like(weight, dtype=moment.dtype).copy_(split_like(weight, moment))


@torch.no_grad()
def _copy_into(module: Network, tensors: Mapping[str, Tensor], prefix: str) -> None:
    for name, weight in module.trained().items():
        weight.copy_(split_like(weight, tensors[f"{prefix}/{name}"]))
