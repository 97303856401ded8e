"""Curves of one variable, from the most common in real tables to the rarest."""

from __future__ import annotations

import numpy as np

from metaest.pretrained._draws import Booleans, Floats, Integers

N_CURVES = 10


def bend(values: Floats, kinds: Integers) -> Floats:
    """Apply to each series of rows the curve of its number.

    Parameters
    ----------
    values : ndarray of shape (..., N)
        About standardised.
    kinds : ndarray of shape (...)
        Numbers below `N_CURVES`: identity, tanh, rectifier, exponential, square, absolute value,
        step, sine, bump, staircase.

    Returns
    -------
    values : ndarray of shape (..., N)
    """
    out = np.empty_like(values)
    for kind in range(N_CURVES):
        where = kinds == kind
        if where.any():
            out[where] = _curve(kind, values[where])
    return out


def _curve(kind: int, z: Floats) -> Floats | Booleans:
    match kind:
        case 0:
            return z
        case 1:
            return np.tanh(z)
        case 2:
            return np.maximum(z, 0.0)
        case 3:
            return np.exp(np.clip(z, -4.0, 4.0))
        case 4:
            return z * z
        case 5:
            return np.abs(z)
        case 6:
            return z > 0.0
        case 7:
            return np.sin(2.0 * z)
        case 8:
            return np.exp(-np.minimum(z * z, 30.0))
        case _:
            return np.floor(2.0 * z)
