import pytest
import torch
from torch import Tensor

from emodc.attacks.victims import Deployed, network_victim


def pixels(number: int = 3) -> Tensor:
    return torch.rand(number, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def test_a_victim_that_is_shown_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 image at once, not 0"):
        network_victim(lambda x: x, batch=0)


def test_a_victim_can_be_a_module() -> None:
    module = Deployed(network_victim(lambda x: x.flatten(1)), seed=0)
    assert module(pixels()).dtype == torch.float32
    torch.testing.assert_close(module(pixels()), pixels().flatten(1))
