"""A learned update rule as a torch optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from metaest.exceptions import InvalidParameterError
from metaest.nets import CoordinatewiseLSTM


class LSTMOptimizer(torch.optim.Optimizer):
    """Optimize with a learned rule, in any torch training loop.

    Parameters
    ----------
    params : iterable of Tensor or of dict
        As every torch optimizer takes them.
    rule : CoordinatewiseLSTM
        From :func:`train_optimizer`. It is not in ``state_dict()``, which holds what the rule
        remembers of each parameter.
    lr : float, default=1.0
        Factor of the rule's updates, for schedules.

    References
    ----------
    Andrychowicz et al., Learning to learn by gradient descent by gradient descent, NeurIPS 2016.

    Examples
    --------
    >>> import torch
    >>> from metaest.nets import CoordinatewiseLSTM
    >>> from metaest.training import LSTMOptimizer
    >>> rule = CoordinatewiseLSTM()  # from train_optimizer; this one has not learned to move
    >>> model = torch.nn.Linear(3, 1)
    >>> optimizer = LSTMOptimizer(model.parameters(), rule)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     model(torch.ones(5, 3)).square().mean().backward()
    ...     loss = optimizer.step()
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        rule: CoordinatewiseLSTM,
        *,
        lr: float = 1.0,
    ) -> None:
        if not lr >= 0:
            raise InvalidParameterError(f"lr must be at least 0, got {lr!r}.")
        super().__init__(params, {"lr": lr})
        self.rule = rule

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every parameter that has a gradient.

        Parameters
        ----------
        closure : callable, default=None
            Evaluates the loss again and returns it.

        Returns
        -------
        What `closure` returned, or None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.add_(self._update(parameter), alpha=group["lr"])
        return loss

    def _update(self, parameter: Tensor) -> Tensor:
        dtype, state = self.rule.out.weight.dtype, self.state[parameter]
        hidden = state.get("hidden")
        if hidden is not None:  # load_state_dict gives it the parameter's type
            hidden = hidden.to(dtype)
        assert parameter.grad is not None
        update, state["hidden"] = self.rule(parameter.grad.to(dtype), hidden)
        return update

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"rule": self.rule}
