"""Training a learned optimizer, for problems outside few-shot learning."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from metaest._checks import check_int
from metaest._torch import local_seed
from metaest.exceptions import InvalidParameterError
from metaest.nets import CoordinatewiseLSTM

#: Where to start, and ``loss_of(parameters)``: one loss, or one for each of several problems
#: that share no parameter.
Problem = tuple[Mapping[str, Tensor], Callable[[Mapping[str, Tensor]], Tensor]]

#: Smallest loss that a window's losses are measured by.
TINY = 1e-12


def train_optimizer(
    sample_problem: Callable[[torch.Generator], Problem],
    *,
    n_problems: int = 200,
    n_steps: int = 100,
    unroll: int = 20,
    lr: float = 0.01,
    hidden_size: int = 20,
    random_state: int = 0,
) -> CoordinatewiseLSTM:
    r"""Learn an update rule that lowers the losses of a family of problems.

    The rule :math:`m_\phi` takes `n_steps` on each problem. Adam moves it after every `unroll`
    of them, along the gradient of

    .. math:: \sum_t w_t\, f(\theta_t), \qquad \theta_{t+1} = \theta_t + 0.1\, m_\phi(\nabla f, h_t)

    over these steps, to which the problem's own gradients :math:`\nabla f` are constants. The
    weights :math:`w_t` (1 in the paper) are one over the loss before these steps, so that late
    steps, where losses are small, count as much as early ones.

    Parameters
    ----------
    sample_problem : callable
        ``sample_problem(generator)`` draws a problem and returns ``(start, loss_of)``: a mapping
        of name to Tensor, and a function from such a mapping to its loss. Many problems at once
        are one problem with a loss of shape (n,); that is quicker and steadier.
    n_problems : int, default=200
        Calls of `sample_problem`.
    n_steps : int, default=100
        Steps on each; a rule is for about as many.
    unroll : int, default=20
        Steps that the gradient goes back through.
    lr : float, default=0.01
        Of Adam, on a cosine schedule.
    hidden_size : int, default=20
        Units of each of the rule's two layers.
    random_state : int, default=0

    Returns
    -------
    CoordinatewiseLSTM
        For :class:`LSTMOptimizer`. Save it with ``torch.save(rule.state_dict(), path)``.

    Raises
    ------
    InvalidParameterError
        If a number is too small, or a loss is not finite.

    References
    ----------
    Andrychowicz et al., Learning to learn by gradient descent by gradient descent, NeurIPS 2016,
    eq. 3 and section 3.

    Examples
    --------
    >>> import torch
    >>> from metaest.training import train_optimizer
    >>> def parabolas(generator):
    ...     goals = torch.randn(8, 1, generator=generator)
    ...     return {"x": torch.zeros(8, 1)}, lambda p: (p["x"] - goals).square().sum(1)
    >>> rule = train_optimizer(parabolas, n_problems=2, n_steps=10, unroll=5)
    """
    for name, value in {"n_problems": n_problems, "n_steps": n_steps, "unroll": unroll}.items():
        check_int(value, name)
    random_state = check_int(random_state, "random_state", low=0)
    with local_seed(random_state):
        rule = CoordinatewiseLSTM(hidden_size)
    generator = torch.Generator().manual_seed(random_state)
    windows = [min(unroll, n_steps - done) for done in range(0, n_steps, unroll)]
    adam = torch.optim.Adam(rule.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, n_problems * len(windows))
    for _ in range(n_problems):
        start, loss_of = sample_problem(generator)
        parameters, hidden = dict(start), dict.fromkeys(start)
        for window in windows:
            loss, parameters, hidden = _unrolled(rule, loss_of, parameters, hidden, window)
            adam.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(rule.parameters(), 1.0)
            adam.step()
            schedule.step()
    adam.zero_grad()
    return rule


def _unrolled(
    rule: CoordinatewiseLSTM,
    loss_of: Callable[[Mapping[str, Tensor]], Tensor],
    parameters: Mapping[str, Tensor],
    hidden: Mapping[str, Tensor | None],
    steps: int,
) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor | None]]:
    """Take steps; return their mean loss beside the first one, and where they lead, detached."""
    dtype = rule.out.weight.dtype  # the parameters may have another
    current = {k: p.detach().requires_grad_() for k, p in parameters.items()}
    memory = {k: None if h is None else h.detach() for k, h in hidden.items()}
    losses = loss_of(current)
    scale = losses.detach().mean().abs().clamp(min=TINY)
    path = []
    for _ in range(steps):
        gradients = torch.autograd.grad(losses.sum(), list(current.values()), retain_graph=True)
        for name, gradient in zip(current, gradients, strict=True):
            update, memory[name] = rule(gradient.to(dtype), memory[name])
            current[name] = current[name] + update.to(gradient.dtype)
        losses = loss_of(current)
        path.append(losses.mean())
    loss = torch.stack(path).mean() / scale
    if not loss.isfinite():
        raise InvalidParameterError(
            "sample_problem gave a problem whose loss is not finite on the rule's way. Start "
            "where it is finite, bound it, or lower lr."
        )
    return loss, current, memory
