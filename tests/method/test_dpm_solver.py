from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from emodc.method.ddim import Denoiser, ddim
from emodc.method.dpm_solver import dpm_solver
from emodc.method.randomness import standard_normal
from emodc.method.schedule import Schedule, ShiftedCosine
from tests.method.test_ddim import gaussian

SCHEDULE = ShiftedCosine(median_sigma=0.7).build()
MEAN = torch.tensor([[[-1.0, 0.5], [0.0, 2.0]]])
VARIANCE = torch.tensor([[[0.04, 0.25], [1.0, 4.0]]])


def flow(noise: Tensor) -> Tensor:
    """Where the exact probability flow of independent normal pixels takes noise at T-1.

    ``(xt / signal - mean) / sqrt(variance + sigma^2)`` is constant along it.
    """
    signal, level = SCHEDULE.signal_and_noise(torch.tensor(SCHEDULE.timesteps - 1))
    spread = (VARIANCE + (level / signal) ** 2).sqrt()
    return MEAN + VARIANCE.sqrt() * (noise / signal - MEAN) / spread


def off(solver: Callable[[Denoiser, Schedule, Tensor, int], Tensor], steps: int) -> float:
    noise = standard_normal(0, 1, list(range(50)), (1, 2, 2))
    x0 = solver(gaussian(SCHEDULE, MEAN, VARIANCE), SCHEDULE, noise, steps)
    return float((x0 - flow(noise)).abs().max())


def test_it_is_of_second_order_and_ddim_of_first() -> None:
    ours = [off(dpm_solver, n) for n in (20, 40, 80)]
    theirs = [off(ddim, n) for n in (20, 40, 80)]
    assert min(ours[0] / ours[1], ours[1] / ours[2]) > 2.8
    assert theirs[1] / theirs[2] < 2.2


@pytest.mark.parametrize("steps", [10, 20, 50])
def test_as_many_calls_come_closer_than_ddims(steps: int) -> None:
    assert off(dpm_solver, steps) < 0.7 * off(ddim, steps)


def test_the_first_and_the_last_step_are_ddims() -> None:
    denoiser = gaussian(SCHEDULE, MEAN, VARIANCE)
    noise = standard_normal(0, 1, [0, 1], (1, 2, 2))
    for steps in (1, 2):
        expected = ddim(denoiser, SCHEDULE, noise, steps)
        torch.testing.assert_close(dpm_solver(denoiser, SCHEDULE, noise, steps), expected)


def test_a_single_image_is_found_in_any_number_of_steps() -> None:
    noise = standard_normal(0, 1, [0, 1], (1, 2, 2))
    for steps in (1, 3, 30):
        x0 = dpm_solver(gaussian(SCHEDULE, MEAN, torch.zeros(1)), SCHEDULE, noise, steps)
        torch.testing.assert_close(x0, MEAN.expand(2, -1, -1, -1), atol=1e-3, rtol=1e-3)


def test_every_step_is_one_call_and_is_told() -> None:
    asked: list[int] = []
    told: list[tuple[int, int]] = []
    exact = gaussian(SCHEDULE, MEAN, VARIANCE)

    def counted(of: Schedule) -> Denoiser:
        def denoiser(xt: Tensor, t: Tensor) -> Tensor:
            asked.append(int(t[0]))
            return exact(xt, t)

        return denoiser

    noise = standard_normal(0, 1, [0], (1, 2, 2))
    dpm_solver(counted(SCHEDULE), SCHEDULE, noise, 4, lambda *now: told.append(now))
    assert asked == [999, 749, 499, 249]
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_impossible_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="between 1 and 1000"):
        dpm_solver(gaussian(SCHEDULE, MEAN, VARIANCE), SCHEDULE, torch.zeros(1, 1, 2, 2), 0)
