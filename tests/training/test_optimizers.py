import torch
from hypothesis import given
from hypothesis import strategies as st

from emodc.training.optimizers import Muon, orthogonalize


@given(rows=st.integers(2, 40), columns=st.integers(2, 40), seed=st.integers(0, 99))
def test_singular_values_come_close_to_one(rows: int, columns: int, seed: int) -> None:
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    singular = torch.linalg.svdvals(orthogonalize(matrix))
    # A nearly singular direction of a square matrix may not get all the way in five steps.
    assert singular.max() < 1.3
    assert singular.median() > 0.5


def test_singular_vectors_are_kept() -> None:
    matrix = torch.diag(torch.tensor([5.0, 1.0, 0.5]))
    assert torch.allclose(orthogonalize(matrix), torch.eye(3), atol=0.35)


def test_muon_moves_slow_directions_as_fast_as_steep_ones() -> None:
    target = 2 * torch.eye(4)
    scales = torch.tensor([10.0, 1.0, 1.0, 0.1])
    weight = torch.nn.Parameter(torch.zeros(4, 4))
    optimizer = Muon([weight], lr=0.02, momentum=0.5)
    for _ in range(20):
        optimizer.zero_grad()
        ((weight - target).square() * scales).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    # Plain gradient descent would be 100 times slower along the last column.
    moved = weight.detach().diag()
    assert moved[3] > 0.5 * moved[0]
    assert (moved > 0.1).all()


def test_filters_in_any_memory_layout_get_the_same_update() -> None:
    start = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(2))
    gradient = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(3))
    updated = []
    for layout in (torch.contiguous_format, torch.channels_last):
        weight = torch.nn.Parameter(start.clone().to(memory_format=layout))
        weight.grad = gradient.clone().to(memory_format=layout)
        Muon([weight], lr=0.1, weight_decay=0.1).step()
        updated.append(weight.detach())
    assert torch.allclose(updated[0], updated[1], atol=1e-6)


def test_weight_without_gradient_stays() -> None:
    weight = torch.nn.Parameter(torch.ones(3, 3))
    Muon([weight], lr=1.0, weight_decay=0.5).step()
    assert torch.equal(weight.detach(), torch.ones(3, 3))
