"""How a run goes, and the files that tell it: settings, metrics, TensorBoard."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from emodc.support.distributed import World
from emodc.support.files import write_atomically
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
