"""Muon for matrices, AdamW for the rest."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def orthogonalize(matrices: Tensor, steps: int = 5) -> Tensor:
    """Move the singular values of (n, rows, columns) matrices near 1 (Newton-Schulz).

    The polynomial is Jordan et al.'s: https://kellerjordan.github.io/posts/muon.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices
    x = (x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)).bfloat16()
    for _ in range(steps):
        gram = x @ x.transpose(1, 2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.transpose(1, 2) if tall else x).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Steps along the orthogonalised momentum, of AdamW's usual size (Liu et al. 2025, Moonlight).

    Matrices of one shape are orthogonalised together.
    """

    def __init__(
        self, parameters: Iterable[Tensor], lr: float, momentum: float = 0.95, decay: float = 0.01
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    by_shape.setdefault(p.shape, []).append(p)
            for shape, members in by_shape.items():
                directions = torch.stack([self._direction(p, group["momentum"]) for p in members])
                size = 0.2 * max(shape) ** 0.5
                for p, update in zip(members, orthogonalize(directions), strict=True):
                    p.mul_(1 - group["lr"] * group["decay"])
                    p.sub_(update, alpha=group["lr"] * size)

    def _direction(self, p: Tensor, momentum: float) -> Tensor:
        buffer = self.state[p].setdefault("momentum_buffer", torch.zeros_like(p))
        buffer.lerp_(p.grad, 1 - momentum)
        return p.grad.lerp(buffer, momentum)


def make_optimizers(net: nn.Module, name: str, lr: float) -> list[torch.optim.Optimizer]:
    """Muon (or AdamW) for the weights of hidden linear layers, AdamW for the rest."""
    layers = [m for m in net.modules() if isinstance(m, nn.Linear) and min(m.weight.shape) > 20]
    matrices = [layer.weight for layer in layers]
    known = {id(p) for p in matrices}
    rest = [p for p in net.parameters() if id(p) not in known]
    adam = {"lr": lr, "betas": (0.9, 0.98), "weight_decay": 0.0, "eps": 1e-10}
    if name == "muon":
        return [Muon(matrices, lr), torch.optim.AdamW(rest, **adam)]
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": rest}]
    return [torch.optim.AdamW(groups, **adam)]
