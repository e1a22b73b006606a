"""How a run goes, and the files that tell it: settings, metrics, TensorBoard."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from emodc.support.distributed import World
from emodc.support.files import write_atomically

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
        with self._metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"samples": samples, **values}) + "\n")
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, samples)
            self._board.flush()


class Meter:
    """Means of the metrics over all processes' samples since they were last asked for.

    Args:
        world: the processes that train together.

    Attributes:
        steps: how often metrics were added since then.
    """

    def __init__(self, world: World) -> None:
        self.steps = 0
        self._world = world
        self._sums: dict[str, Tensor] = {}

    def add(self, metrics: Mapping[str, Tensor]) -> None:
        """Add a step's metrics: by name, sum over samples and their number, (2,)."""
        self.steps += 1
        for name, both in metrics.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(both)) + both

    def means(self) -> dict[str, float]:
        """Return the means and start anew."""
        shares = self._world.gather({name: both.tolist() for name, both in self._sums.items()})
        means = {}
        for name in self._sums:
            total, count = (sum(column) for column in zip(*(s[name] for s in shares), strict=True))
            means[name] = total / max(count, 1)
        self.steps, self._sums = 0, {}
        return means


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """Return the lines of ``metrics.jsonl``, without one that a killed process left unfinished."""
    path = folder / METRICS
    if not path.exists():
        return []
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            logger.warning("%s: dropped an unfinished line", path)
    return lines
