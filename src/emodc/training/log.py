"""How a run goes, and the files that tell it: settings, metrics, TensorBoard."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emodc.support.distributed import World
from emodc.support.files import explained, write_atomically
from emodc.support.parsing import MAX_TEXT_BYTES, read_bytes
from emodc.support.text import printable

logger = logging.getLogger(__name__)

METRICS, CONFIG, STATE = "metrics.jsonl", "config.yaml", "state.safetensors"


class RunLog:
    """Writes ``config.yaml``, ``metrics.jsonl`` and, where it is installed, TensorBoard's log.

    The metrics hold nothing that depends on the clock: a run that was killed ends with the same
    file as one that was not.

    Args:
        folder: the run's folder; created if missing.
        config: the resolved recipe as YAML.
        samples: where the run goes on; lines of later samples are dropped.

    Raises:
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path, config: str, samples: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._metrics = folder / METRICS
        write_atomically(folder / CONFIG, config.encode())
        kept = [line for line in read_metrics(folder) if line["samples"] <= samples]
        text = "".join(json.dumps(line) + "\n" for line in kept)
        write_atomically(self._metrics, text.encode())
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self._board = None
        else:
            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=samples + 1)

    def write(self, samples: int, values: dict[str, float]) -> None:
        """Append a line for this many samples."""
        with explained(self._metrics), self._metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"samples": samples, **values}) + "\n")
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, samples)
            self._board.flush()


class Meter:
    """Means of the metrics over all processes' samples since they were last asked for.

    Args:
        world: the processes that train together.
        held: what `held` returned before the run was interrupted.

    Attributes:
        steps: how often metrics were added since then.
    """

    def __init__(self, world: World, held: Mapping[str, Any]) -> None:
        self._world = world
        self.steps: int = held.get("steps", 0)
        self._sums = _own_sums(held.get("sums", []), world)

    def add(self, metrics: Mapping[str, Tensor]) -> None:
        """Add a step's metrics: by name, sum over samples and their number, (2,)."""
        self.steps += 1
        for name, both in metrics.items():
            sums = self._sums.get(name, torch.zeros_like(both))
            self._sums[name] = sums.to(both) + both  # sums from a file take the metric's dtype

    def held(self) -> dict[str, Any]:
        """Return what was added since the last means, in JSON values; the same to all processes.

        Nothing, if a sum is NaN or infinite: a state must be readable.
        """
        own = {name: both.tolist() for name, both in self._sums.items()}
        sums = self._world.gather(own)
        finite = all(
            map(math.isfinite, (x for part in sums for both in part.values() for x in both))
        )
        return {"steps": self.steps, "sums": sums} if self.steps and finite else {}

    def means(self) -> dict[str, float]:
        """Return the means and start anew."""
        shares = self._world.gather({name: both.tolist() for name, both in self._sums.items()})
        means = {}
        for name in self._sums:
            total, count = (sum(column) for column in zip(*(s[name] for s in shares), strict=True))
            means[name] = total / max(count, 1)
        self.steps, self._sums = 0, {}
        return means


def _own_sums(saved: Sequence[Mapping[str, list[float]]], world: World) -> dict[str, Tensor]:
    """Return a process's part of saved sums; the main one takes all if their number changed."""
    if len(saved) == world.size:
        return {
            name: torch.tensor(both, dtype=torch.float64)
            for name, both in saved[world.rank].items()
        }
    if not world.is_main:
        return {}
    names = {name for part in saved for name in part}
    return {
        name: torch.tensor([p[name] for p in saved if name in p], dtype=torch.float64).sum(dim=0)
        for name in names
    }


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """Return the lines of ``metrics.jsonl``, without one that a killed process left unfinished.

    A line counts if it is a JSON object of numbers that says after how many samples it was written;
    of others a warning tells.

    Raises:
        ValueError: the file cannot be read; the message names it.
    """
    path = folder / METRICS
    if not path.exists():
        return []
    lines = []
    content = read_bytes(path, MAX_TEXT_BYTES)
    for number, line in enumerate(content.splitlines(), start=1):
        found = _metrics_in(line)
        if found is None:
            logger.warning(
                "%s, line %d: dropped, as it is unfinished or damaged", printable(str(path)), number
            )
        else:
            lines.append(found)
    return lines


def _metrics_in(line: bytes) -> dict[str, float] | None:
    """Return what a line says; None if it is no line of metrics."""
    try:
        found = json.loads(line)  # not `parse_json`: a metric may be NaN
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not all(type(v) in (int, float) for v in found.values()):
        return None
    samples = found.get("samples")
    return found if isinstance(samples, int) and samples >= 0 else None
