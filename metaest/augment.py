"""Random changes to rows while meta-training: the same drawing, drawn anew."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from metaest.exceptions import InvalidParameterError

__all__ = ["RandomCorruption", "RandomWarp"]

#: Lowest and highest threshold, and steepness, of the change of a stroke's thickness.
_LOW, _HIGH, _STEEPNESS = 0.2, 0.55, 12.0


class RandomWarp:
    r"""Warp each image by a random affine and elastic map, and change its strokes' thickness.

    An output pixel at :math:`u \in [-1, 1]^2` is read from the image at
    :math:`R(\alpha)\,H(s)\,D\,u + t + e(u)`: a rotation, a shear, a scale with stretch, a shift
    and a smooth random field. What lies outside the image is 0. All of it is one bilinear
    sampling of the enlarged image, so fine strokes stay sharp.

    Parameters
    ----------
    rotation : float, default=10.0
        Largest angle, in degrees, either way.
    shear : float, default=0.2
        Largest shear: the shift of the upper edge, in half image heights.
    scale : float, default=0.15
        The scale is drawn log-uniformly from ``exp(-scale)`` to ``exp(scale)``.
    stretch : float, default=0.12
        The same for the width, with the height the other way round.
    translation : float, default=0.1
        Largest shift along each axis, in half image sizes.
    elastic : float, default=0.05
        Standard deviation of the smooth random field, in half image sizes.
    elastic_grid : int, default=5
        The field is drawn on so many points along each axis, smoothly interpolated.
    thickness : float, default=0.5
        Share of the images whose strokes are made thicker or thinner. Needs images in [0, 1]
        with ink 1 on paper 0.
    enlarge : int, default=2
        Factor by which height and width are enlarged before an image is sampled.

    Notes
    -----
    Images within [0, 1] stay within. Strengths of 0 change nothing. To warp several images
    alike, pass them as the channels of one.

    References
    ----------
    Simard, Steinkraus and Platt, Best practices for convolutional neural networks applied to
    visual document analysis, ICDAR 2003.

    Examples
    --------
    >>> import torch
    >>> from metaest.augment import RandomWarp
    >>> images = torch.zeros(2, 1, 28, 28)
    >>> images[:, :, 10:18, 13:15] = 1.0
    >>> warped = RandomWarp(rotation=15.0)(images, torch.Generator().manual_seed(0))
    >>> warped.shape, bool(torch.equal(warped[0], warped[1]))
    (torch.Size([2, 1, 28, 28]), False)
    """

    def __init__(
        self,
        *,
        rotation: float = 10.0,
        shear: float = 0.2,
        scale: float = 0.15,
        stretch: float = 0.12,
        translation: float = 0.1,
        elastic: float = 0.05,
        elastic_grid: int = 5,
        thickness: float = 0.5,
        enlarge: int = 2,
    ) -> None:
        self.rotation = rotation
        self.shear = shear
        self.scale = scale
        self.stretch = stretch
        self.translation = translation
        self.elastic = elastic
        self.elastic_grid = elastic_grid
        self.thickness = thickness
        self.enlarge = enlarge
        strengths = (rotation, shear, scale, stretch, translation, elastic)
        if min(strengths) < 0 or not 0 <= thickness <= 1:
            raise InvalidParameterError(
                "the strengths of RandomWarp must be 0 or more, and thickness between 0 and 1; "
                f"got {self!r}."
            )
        if elastic_grid < 2 or enlarge < 1:
            raise InvalidParameterError(
                "elastic_grid must be 2 or more and enlarge 1 or more; got "
                f"elastic_grid={elastic_grid!r}, enlarge={enlarge!r}."
            )
        self._is_affine = any(strengths[:-1])

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Change images.

        Parameters
        ----------
        x : Tensor of shape (n, channels, height, width)
            Floating-point. The channels of an image change alike.
        generator : torch.Generator
            On the CPU.

        Returns
        -------
        Tensor of shape (n, channels, height, width)
            The changed values, of the same type and on the same device; `x` is left as it is.

        Raises
        ------
        InvalidParameterError
            If `x` are not images.
        """
        if x.ndim != 4 or not x.is_floating_point():
            raise InvalidParameterError(
                "RandomWarp needs floating-point images (n, channels, height, width), got "
                f"{x.dtype} of shape {tuple(x.shape)}."
            )
        if len(x) and (self._is_affine or self.elastic):
            x = self._warp(x, generator)
        return self._rethicken(x, generator) if self.thickness else x.clone()

    def __repr__(self) -> str:
        settings = {k: v for k, v in vars(self).items() if not k.startswith("_")}
        return f"RandomWarp({', '.join(f'{k}={v!r}' for k, v in settings.items())})"

    def _warp(self, x: Tensor, generator: torch.Generator) -> Tensor:
        n, _, height, width = x.shape
        theta = self._affine_maps(n, generator).to(x)
        grid = F.affine_grid(theta, [n, 1, height, width], align_corners=False)  # (n, h, w, 2)
        if self.elastic:
            points = torch.randn(n, 2, self.elastic_grid, self.elastic_grid, generator=generator)
            field = _resize(points.to(x) * self.elastic, height, width, align_corners=True)
            grid = grid + field.permute(0, 2, 3, 1)
        if self.enlarge > 1:
            large = _resize(x, height * self.enlarge, width * self.enlarge, align_corners=False)
            low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
            x = large.clamp(low, high)  # cubic weights overshoot
        return F.grid_sample(x, grid, align_corners=False)

    def _affine_maps(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw maps from output to input positions: (n, 2, 3)."""

        def draw(limit: float, *shape: int) -> Tensor:
            return (2 * torch.rand(n, *shape, generator=generator) - 1) * limit

        angle, shear = draw(math.radians(self.rotation)), draw(self.shear)
        scale, stretch = draw(self.scale).exp(), draw(self.stretch).exp()
        shift = draw(self.translation, 2)
        cos, sin, kx, ky = angle.cos(), angle.sin(), scale * stretch, scale / stretch
        rows = [
            torch.stack([cos * kx, (cos * shear - sin) * ky, shift[:, 0]], -1),
            torch.stack([sin * kx, (sin * shear + cos) * ky, shift[:, 1]], -1),
        ]
        return torch.stack(rows, 1)

    def _rethicken(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Blur and threshold softly, some images low (thick strokes) and some high (thin)."""
        chosen = torch.rand(len(x), generator=generator) < self.thickness
        threshold = _LOW + (_HIGH - _LOW) * torch.rand(len(x), generator=generator)
        chosen, threshold = chosen.to(x.device), threshold[chosen].to(x).view(-1, 1, 1, 1)
        blurred = F.avg_pool2d(x[chosen], 3, 1, 1, count_include_pad=False)
        paper = torch.sigmoid(-_STEEPNESS * threshold)  # so that paper stays 0
        changed = torch.sigmoid(_STEEPNESS * (blurred - threshold)) - paper
        x = x.clone()
        x[chosen] = changed
        return x


class RandomCorruption:
    """Replace random values of each row by those of other rows, column by column.

    Parameters
    ----------
    share : float, default=0.4
        Probability that a value is replaced.

    Notes
    -----
    A replaced value comes from the same column of a random row among those passed, so it is a
    likely value of that column, and no scale is needed. A row alone stays as it is.

    References
    ----------
    Bahri, Jiang, Tay and Metzler, SCARF: Self-Supervised Contrastive Learning using Random Feature
    Corruption, ICLR 2022, algorithm 1.

    Examples
    --------
    >>> import torch
    >>> from metaest.augment import RandomCorruption
    >>> rows = torch.arange(12.0).reshape(4, 3)
    >>> RandomCorruption(0.5)(rows, torch.Generator().manual_seed(0)).shape
    torch.Size([4, 3])
    """

    def __init__(self, share: float = 0.4) -> None:
        self.share = share
        if not 0 <= share <= 1:
            raise InvalidParameterError(f"share must be between 0 and 1, got {share!r}.")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Change rows.

        Parameters
        ----------
        x : Tensor of shape (n, ...)
        generator : torch.Generator
            On the CPU.

        Returns
        -------
        Tensor of shape (n, ...)
            The changed values, of the same type and on the same device; `x` is left as it is.
        """
        rows = x.flatten(1)  # (n, d)
        replaced = torch.rand(rows.shape, generator=generator) < self.share
        donors = torch.randint(max(1, len(rows)), rows.shape, generator=generator)
        others = rows.gather(0, donors.to(x.device))
        return torch.where(replaced.to(x.device), others, rows).view_as(x)

    def __repr__(self) -> str:
        return f"RandomCorruption(share={self.share!r})"


def _resize(x: Tensor, height: int, width: int, *, align_corners: bool) -> Tensor:
    return F.interpolate(x, size=(height, width), mode="bicubic", align_corners=align_corners)
