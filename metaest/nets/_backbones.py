"""Backbones: modules from inputs (n, *input_shape) to features (n, d).

All of them normalise each row by itself (never by the batch), so a row's features do not depend
on the rows it comes with: predictions are the same one at a time or together, padding changes
nothing, and no statistics of the query set leak into the prediction.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn


class Standardize(nn.Module):
    r"""Shift and scale inputs by statistics of the meta-training tasks (buffers, not learned).

    Parameters
    ----------
    input_shape : tuple of int
        Rows ``(n_features,)`` have statistics per column, images ``(channels, height, width)``
        per channel.
    mean, scale : Tensor, default=None
        Of shape (n_features,) or (channels, 1, 1); None: 0 and 1.
    squash : float, default=0.0
        Inputs z become :math:`z / \sqrt{1 + (s z)^2}`, between -1/s and 1/s. A column that hardly
        varies in the meta-training tasks may do so in a new one, and without a bound it would
        then outweigh all others. 0: no bound.
    """

    mean: Tensor
    scale: Tensor
    squash: Tensor

    def __init__(
        self,
        input_shape: tuple[int, ...],
        mean: Tensor | None = None,
        scale: Tensor | None = None,
        squash: float = 0.0,
    ) -> None:
        super().__init__()
        shape = (input_shape[0], *[1] * (len(input_shape) - 1))
        self.register_buffer("mean", torch.zeros(shape) if mean is None else mean.reshape(shape))
        self.register_buffer("scale", torch.ones(shape) if scale is None else scale.reshape(shape))
        self.register_buffer("squash", torch.tensor(squash))

    def forward(self, x: Tensor) -> Tensor:
        mean, scale = self.mean.to(x.dtype), self.scale.to(x.dtype)  # kept in double at first
        z = (x - mean) / scale  # (n, *input_shape)
        return z / torch.hypot(torch.ones_like(z), z * self.squash)


class Conv4(nn.Sequential):
    """Four convolutional blocks (Vinyals et al. 2016): the standard few-shot image backbone.

    Each block is a 3 x 3 convolution, 2 x 2 max pooling, group normalisation and ReLU. Images
    of less than 28 pixels have fewer blocks: one without pooling, then as many as leave 4 pixels.
    Normalising each image by itself replaces the papers' batch normalisation: on Omniglot it
    also learns faster per CPU-minute (benchmarks/RESULTS.md), and after the pool it costs a
    quarter.

    Parameters
    ----------
    input_shape : (channels, height, width)
    widths : tuple of 4 int, default=(32, 64, 128, 128)
        Channels of the blocks. The papers have 64 in each; wide where pixels are few learns
        Omniglot faster (benchmarks/RESULTS.md).
    groups : int, default=1
        Groups of the normalisation; 1 normalises over all channels.

    References
    ----------
    Vinyals et al., Matching Networks for One Shot Learning, NeurIPS 2016, section 4.1.1.
    Wu and He, Group Normalization, ECCV 2018.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        widths: tuple[int, int, int, int] = (32, 64, 128, 128),
        groups: int = 1,
    ) -> None:
        channels, side = input_shape[0], min(input_shape[1:])
        n_pools = 4 if side >= 28 else max(0, side.bit_length() - 3)
        n_plain = 0 if side >= 28 else 1
        layers: list[nn.Module] = []
        for block, width in enumerate(widths[: n_plain + n_pools]):
            layers.append(nn.Conv2d(channels, width, 3, padding=1))
            if block >= n_plain:
                layers.append(nn.MaxPool2d(2))
            layers += [nn.GroupNorm(groups, width), nn.ReLU()]
            channels = width
        super().__init__(*layers, nn.Flatten())  # (n, width * pixels left)
        # Convolutions follow the layout of their weights. Channels last is about twice as fast
        # for these sizes on a CPU, and exact here: only torch's batch normalisation is not.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class MLP(nn.Sequential):
    """Fully connected layers with ReLU, as in MAML's sinusoid network.

    Parameters
    ----------
    input_shape : (n_features,)
    hidden : tuple of int, default=(64, 64)
    """

    def __init__(self, input_shape: tuple[int, ...], hidden: tuple[int, ...] = (64, 64)) -> None:
        layers: list[nn.Module] = [nn.Flatten()] if len(input_shape) > 1 else []
        sizes = (int(torch.Size(input_shape).numel()), *hidden)
        for n_in, n_out in pairwise(sizes):
            layers += [nn.Linear(n_in, n_out), nn.ReLU()]
        super().__init__(*layers)  # (n, hidden[-1])


class Identity(nn.Flatten):
    """The inputs themselves, standardised: for learners with a metric or a head to learn.

    Parameters
    ----------
    input_shape : tuple of int
    """

    def __init__(self, input_shape: tuple[int, ...]) -> None:
        super().__init__()  # (n, d)


class ResidualMLP(nn.Module):
    """The inputs themselves, rescaled per column, plus a small network that starts at zero.

    An embedding that starts at the identity begins as good as the raw features, and
    meta-training can only move it from there: with few training classes a plain network
    overfits and ends behind them.

    Parameters
    ----------
    input_shape : (n_features,)
    hidden : int, default=128
    """

    def __init__(self, input_shape: tuple[int, ...], hidden: int = 128) -> None:
        super().__init__()
        n_features = int(torch.Size(input_shape).numel())
        self.scale = nn.Parameter(torch.ones(n_features))
        self.hidden = nn.Linear(n_features, hidden)
        self.out = nn.Linear(hidden, n_features)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)  # (n, d)
        return self.scale * x + self.out(torch.relu(self.hidden(x)))  # (n, d)
