"""The learned update rule: one small LSTM, shared by all coordinates."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

#: Factor of the updates, so that they start small.
SCALE = 0.1


class CoordinatewiseLSTM(nn.Module):
    r"""An update rule :math:`\theta_{t+1} = \theta_t + 0.1\, m_\phi(\nabla f(\theta_t), h_t)`.

    The same small network sees the gradient of each coordinate by itself, log-scaled, and
    remembers what it needs of that coordinate's past. So a rule has a few thousand weights
    however many it optimises, and does not depend on their order. A new rule moves nothing: its
    output layer starts at zero.

    Parameters
    ----------
    hidden_size : int, default=20
        Units of each layer.
    n_layers : int, default=2

    References
    ----------
    Andrychowicz et al., Learning to learn by gradient descent by gradient descent, NeurIPS 2016,
    section 2.1 and appendix A.

    Examples
    --------
    >>> import torch
    >>> from metaest.nets import CoordinatewiseLSTM
    >>> rule = CoordinatewiseLSTM()
    >>> update, hidden = rule(torch.ones(3, 5))
    >>> update.shape, hidden.shape
    (torch.Size([3, 5]), torch.Size([2, 2, 15, 20]))
    """

    def __init__(self, hidden_size: int = 20, n_layers: int = 2) -> None:
        super().__init__()
        sizes = [2, *[hidden_size] * n_layers]
        self.layers = nn.ModuleList(nn.LSTMCell(size, hidden_size) for size in sizes[:-1])
        self.out = nn.Linear(hidden_size, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, gradient: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the update of n coordinates and what to remember of them.

        Parameters
        ----------
        gradient : Tensor of any shape, n numbers
        hidden : Tensor of shape (n_layers, 2, n, hidden_size), default=None
            From the step before; None at the first.

        Returns
        -------
        update : Tensor of the gradient's shape
        hidden : Tensor of shape (n_layers, 2, n, hidden_size)
        """
        x = log_scaled(gradient.reshape(-1))  # (n, 2)
        states = []
        for i, layer in enumerate(self.layers):
            state = layer(x, None if hidden is None else hidden[i].unbind())
            states.append(torch.stack(state))  # (2, n, hidden_size)
            x = state[0]
        return SCALE * self.out(x).reshape(gradient.shape), torch.stack(states)


def log_scaled(values: Tensor, p: float = 10.0) -> Tensor:
    r"""Split numbers of any magnitude into two features of order 1.

    .. math::
        x \mapsto \begin{cases}
            (\log |x| / p, \operatorname{sgn} x) & |x| \ge e^{-p} \\
            (-1, e^p x) & \text{otherwise}
        \end{cases}

    Parameters
    ----------
    values : Tensor of shape (...)
    p : float, default=10.0

    Returns
    -------
    Tensor of shape (..., 2)

    References
    ----------
    Andrychowicz et al., Learning to learn by gradient descent by gradient descent, NeurIPS 2016,
    appendix A.
    """
    size = values.abs().clamp(min=math.exp(-p)).log() / p
    return torch.stack([size, (values * math.exp(p)).clamp(-1, 1)], -1)
