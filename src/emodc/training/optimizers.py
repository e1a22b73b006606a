"""The optimizers: Muon for the hidden layers, AdamW for the rest."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from emodc.support.optional import importing

_BETAS = (0.9, 0.99)


def build_adamw(
    groups: list[dict[str, Any]], rate: float, eight_bit: bool = False
) -> torch.optim.Optimizer:
    """Return AdamW (Loshchilov & Hutter, ICLR 2019).

    Args:
        groups: parameters with their ``weight_decay``.
        rate: learning rate.
        eight_bit: keep its moments in 8 bits (Dettmers et al., ICLR 2022), on a GPU.

    Raises:
        ImportError: ``eight_bit``, and bitsandbytes is not installed.
    """
    if not eight_bit:
        return torch.optim.AdamW(groups, lr=rate, betas=_BETAS, fused=True)
    with importing("8bit", "optimizer.eight_bit"):
        from bitsandbytes.optim import AdamW8bit
    optimizer: torch.optim.Optimizer = AdamW8bit(groups, lr=rate, betas=_BETAS)
    return optimizer


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal (Jordan et al., "Muon", 2024).

    Every weight is taken as a matrix (outputs, inputs); filters are flattened. The update is
    scaled to the root mean square of AdamW's, 0.2 (Liu et al., arXiv 2502.16982, section 2.2),
    so that learning rate and decay mean the same as AdamW's.

    Args:
        params: weights with at least two dimensions.
        lr: learning rate, in AdamW's units.
        momentum: decay of the gradient average; Nesterov's form is used.
        weight_decay: decoupled decay.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every weight that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                average: Tensor = state["momentum"]
                average.lerp_(weight.grad, 1 - group["momentum"])
                update = weight.grad.lerp(average, group["momentum"]).flatten(1)
                update = orthogonalize(update) * (0.2 * max(update.shape) ** 0.5)
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(update.view_as(weight), alpha=-group["lr"])


def orthogonalize(matrix: Tensor) -> Tensor:
    """Return a matrix (m, n) with the same singular vectors and singular values near 1.

    Five Newton-Schulz steps ``x <- q(x x^T) x`` with Jordan's quintic coefficients: the result's
    singular values lie between about 0.7 and 1.2, which is all that the optimizer needs. All the
    factors q are polynomials of one Gram matrix, so they are multiplied up at (m, m), the smaller
    side, and meet x once; for the wide matrices that filters are this is half the work.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = (matrix.mT if tall else matrix).float()
    x = x / (x.norm() + 1e-7)
    gram = x @ x.mT
    product = torch.eye(len(gram), device=gram.device)
    for _ in range(5):
        q = torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315)
        q.diagonal().add_(3.4445)
        product = q @ product
        gram = q @ gram @ q
    x = product @ x
    orthogonal: Tensor = (x.mT if tall else x).to(matrix.dtype)
    return orthogonal
