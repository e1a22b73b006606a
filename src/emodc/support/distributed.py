"""The processes that work on one task together, and what they tell each other.

``accelerate launch`` (or ``torchrun``) starts them; each runs the same command on its share of
the work. They are told apart by their rank; rank 0, the main process, writes the files and
speaks for all.
"""

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

logger = logging.getLogger(__name__)

T = TypeVar("T")

_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""Where launchers (the last three: of MPI) say how many processes they started."""

SPLIT = "EMODC_FSDP"
"""Environment variable: true where training is to split the model over the processes."""

_FSDP = "ACCELERATE_USE_FSDP"
_UNSUPPORTED = ("ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_MEGATRON_LM")
"""How ``accelerate launch`` says that a model is to be split."""

# Shares can differ in length, so the first may wait long for the last; one that failed makes the
# launcher end the others, whatever they wait for.
_PATIENCE = timedelta(days=1)


@dataclass(frozen=True)
class World:
    """This process among those that share a task; by default it is alone.

    Every process must make the same calls in the same order.

    Attributes:
        rank: which process this is, 0..size-1.
        size: how many there are.
        device: where this one computes, if a launcher decided that.
        splits: whether training splits the model over them (FSDP) instead of copying it.
        group: how they talk. It runs on the CPU, so that asking never waits for a GPU.
    """

    rank: int = 0
    size: int = 1
    device: torch.device | None = None
    splits: bool = False
    group: "ProcessGroup | None" = field(default=None, repr=False)

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def share(self, work: range) -> range:
        """Return this process's part of a range: contiguous, as long as the others' or 1 off."""
        bounds = [len(work) * r // self.size for r in (self.rank, self.rank + 1)]
        return work[bounds[0] : bounds[1]]

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes, by rank, to all of them."""
        if self.size == 1:
            return [value]
        values: list[T | None] = [None] * self.size
        torch.distributed.all_gather_object(values, value, group=self.group)
        return values  # type: ignore[return-value]

    def from_main(self, make: Callable[[], T]) -> T:
        """Return what the main process makes, to all of them; the others wait for it."""
        if self.size == 1:
            return make()
        box = [make() if self.is_main else None]
        torch.distributed.broadcast_object_list(box, src=0, group=self.group)
        return box[0]  # type: ignore[return-value]

    def any(self, flag: bool) -> bool:
        """Tell whether any process says yes."""
        if self.size == 1:
            return flag
        votes = torch.tensor([flag], dtype=torch.int32)
        torch.distributed.all_reduce(votes, group=self.group)
        return bool(votes)

    @contextmanager
    def finishing_the_step(self) -> Iterator[Callable[[], bool]]:
        """Turn Ctrl-C and a polite kill of any process into a flag: no step is left half done.

        Yields:
            What asks for the flag; all processes must ask at the same points.
        """
        caught: list[int] = []
        before = {
            number: signal.signal(number, lambda received, _: caught.append(received))
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield lambda: self.any(bool(caught))
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def wait(self) -> None:
        """Wait until every process has come this far."""
        self.any(False)


ALONE = World()


def join(device: str = "auto") -> World:
    """Meet the other processes that a launcher started with this one, if any.

    Args:
        device: ``auto`` or ``cpu``.

    Raises:
        ValueError: several processes are to share one named device, or to split the model in a way
            that is not supported.
    """
    if any(map(_told, _UNSUPPORTED)):
        raise ValueError(
            "DeepSpeed and Megatron-LM are not supported: use configs/accelerate/multi-gpu.yaml "
            "or fsdp.yaml"
        )
    if _told(_FSDP):  # accelerate itself would do so on GPUs only: `emodc.support.fsdp` does it
        os.environ |= {_FSDP: "false", SPLIT: "true"}
    if all(int(os.environ.get(name, "1")) == 1 for name in _SIZES):
        if _told("ACCELERATE_USE_CPU") and "MASTER_ADDR" in os.environ and "RANK" not in os.environ:
            logger.warning(
                "accelerate launch --cpu started one process, whatever --num_processes says; "
                "to start several, give --multi_gpu instead of --cpu; emodc's own --device cpu "
                "then keeps them off GPUs"
            )
        return ALONE
    if device not in ("auto", "cpu"):
        raise ValueError(f"--device is auto or cpu where several processes work, not '{device}'")
    from accelerate import PartialState

    # accelerate takes processes without GPUs for unrelated ones unless it is told.
    state = PartialState(cpu=device == "cpu" or not torch.cuda.is_available())
    group = torch.distributed.new_group(backend="gloo", timeout=_PATIENCE)
    return World(state.process_index, state.num_processes, state.device, _told(SPLIT), group)


def _told(name: str) -> bool:
    """Tell whether the launcher set an environment variable to yes."""
    return os.environ.get(name, "").lower() == "true"
