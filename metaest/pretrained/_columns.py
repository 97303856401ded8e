"""From columns to what a table shows of them: units, warps, categories, gaps, outliers."""

from __future__ import annotations

import numpy as np

from metaest.pretrained._draws import (
    Booleans,
    Floats,
    Integers,
    chance,
    choose,
    log_uniform,
    normal,
    standardize,
)

#: As it is, log-normal, heavy tails, squashed, whole numbers, many zeros, binary.
_WARPS = (6, 2.5, 1.5, 1.5, 2.5, 1, 1.5)


def observe(rng: np.random.Generator, columns: Floats) -> tuple[Floats, Booleans]:
    """Make a table of columns.

    Parameters
    ----------
    rng : numpy.random.Generator
    columns : ndarray of shape (B, F, N)

    Returns
    -------
    table : ndarray of shape (B, F, N)
        NaN where a value is missing.
    categorical : ndarray of shape (B, F)
        True for columns of codes.
    """
    columns = standardize(columns)
    n_tasks, n_columns, _ = columns.shape
    columns = _blur(rng, _copy(rng, _disconnect(rng, columns)))
    share = chance(rng, 0.45, (n_tasks, 1)) * rng.uniform(0.0, 1.3, (n_tasks, 1))
    categorical = chance(rng, share, (n_tasks, n_columns))
    hidden = _gaps(rng, columns)
    kinds = choose(rng, _WARPS, (n_tasks, n_columns))
    alike = chance(rng, 0.5, (n_tasks,))  # columns of a table often have one nature
    kinds[alike] = kinds[alike, :1]
    table = np.empty_like(columns)
    for kind in range(len(_WARPS)):
        where = (kinds == kind) & ~categorical
        if where.any():
            table[where] = _warp(rng, kind, columns[where])
    if categorical.any():
        table[categorical] = _encode(rng, columns[categorical])
    table[hidden] = np.nan
    return table, categorical


def respond(rng: np.random.Generator, columns: Floats, labels: Integers) -> Floats:
    """Let the label move some columns in some tasks, as an illness moves what is measured.

    Parameters
    ----------
    rng : numpy.random.Generator
    columns : ndarray of shape (B, F, N)
    labels : ndarray of shape (B, N)

    Returns
    -------
    columns : ndarray of shape (B, F, N)
    """
    n_tasks, n_columns, _ = columns.shape
    share = chance(rng, 0.65, (n_tasks, 1)) * rng.uniform(0.1, 1.2, (n_tasks, 1))
    moved = chance(rng, share, (n_tasks, n_columns)) * log_uniform(rng, 0.35, 2.2, (n_tasks, 1))
    shifts = normal(rng, n_tasks, int(labels.max()) + 1, n_columns) * moved[:, None]
    task = np.arange(n_tasks)[:, None]
    spread = np.exp(0.5 * normal(rng, *shifts.shape) * moved[:, None])
    inner = standardize(columns).transpose(0, 2, 1)  # (B, N, F)
    moves = shifts[task, labels] + spread[task, labels] * inner
    return np.asarray(moves.transpose(0, 2, 1), dtype=np.float32)


def _disconnect(rng: np.random.Generator, columns: Floats) -> Floats:
    """Shuffle the rows of some columns together: they tell nothing of the label any more."""
    n_tasks, n_columns, n_rows = columns.shape
    share = chance(rng, 0.35, (n_tasks, 1)) * rng.uniform(0.0, 0.6, (n_tasks, 1))
    loose = chance(rng, share, (n_tasks, n_columns))
    loose[:, 0] = False
    order = rng.permutation(n_rows)
    columns[loose] = columns[loose][:, order]
    return columns


def _copy(rng: np.random.Generator, columns: Floats) -> Floats:
    """Replace some columns by noisy copies of others."""
    n_tasks, n_columns, _ = columns.shape
    share = chance(rng, 0.2, (n_tasks, 1)) * rng.uniform(0.0, 0.5, (n_tasks, 1))
    copied = chance(rng, share, (n_tasks, n_columns))
    copied[:, 0] = False
    task, column = np.nonzero(copied)
    source = (rng.random(len(column)) * column).astype(np.int64)
    columns[task, column] = columns[task, source]
    return columns


def _blur(rng: np.random.Generator, columns: Floats) -> Floats:
    """Add noise of measurement."""
    level = log_uniform(rng, 0.01, 0.25, (len(columns), 1, 1))
    level = level * log_uniform(rng, 0.5, 2.0, (*columns.shape[:2], 1))
    return standardize(columns + level * normal(rng, *columns.shape))


def _gaps(rng: np.random.Generator, columns: Floats) -> Booleans:
    """Say which values are missing: at random, or those of large or small values."""
    n_tasks, n_columns, _ = columns.shape
    some = chance(rng, 0.25, (n_tasks, 1)) * rng.uniform(0.1, 1.0, (n_tasks, 1))
    rate = chance(rng, some, (n_tasks, n_columns)) * rng.beta(1.0, 4.0, (n_tasks, n_columns))
    hidden = np.zeros(columns.shape, dtype=np.bool_)
    where = rate > 0
    if where.any():
        lean = chance(rng, 0.3, (int(where.sum()), 1)) * normal(rng, int(where.sum()), 1)
        odds = rate[where][:, None] * np.exp(np.clip(lean * columns[where], -3.0, 3.0))
        hidden[where] = chance(rng, odds, odds.shape)
    return hidden


def _warp(rng: np.random.Generator, kind: int, z: Floats) -> Floats:
    """Warp standardised series (M, N) monotonically and give them a unit."""
    amount = log_uniform(rng, 0.4, 1.5, (len(z), 1))
    match kind:
        case 0:
            pass
        case 1:
            z = np.exp(np.clip(amount * z, -5.0, 5.0))
        case 2:
            z = np.sinh(np.clip(1.5 * amount * z, -6.0, 6.0))
        case 3:
            z = np.tanh(amount * z)
        case 4:
            z = np.round(log_uniform(rng, 0.7, 10.0, (len(z), 1)) * z)
        case 5:
            z = np.maximum(z - 0.7 * normal(rng, len(z), 1), 0.0) ** (2.0 * amount)
        case _:
            z = (z > 0.8 * normal(rng, len(z), 1)).astype(np.float32)
    if kind < 4:
        z = _outliers(rng, z)
    sign = 1.0 - 2.0 * chance(rng, 0.2, (len(z), 1))
    unit = np.float32(10.0) ** np.round(1.2 * normal(rng, len(z), 1))
    return np.asarray(unit * sign * (z + choose(rng, (3, 1, 1, 1), (len(z), 1))), dtype=np.float32)


def _outliers(rng: np.random.Generator, z: Floats) -> Floats:
    """Stretch a few values of a few columns."""
    rows = np.flatnonzero(chance(rng, 0.05, (len(z),)))
    far = chance(rng, 0.02, (len(rows), z.shape[1]))
    z[rows] *= 1.0 + far * log_uniform(rng, 2.0, 20.0, (len(rows), 1))
    return z


def _encode(rng: np.random.Generator, z: Floats) -> Floats:
    """Cut series (M, N) into categories, most of them coded in any order."""
    n_codes = np.minimum(2 + rng.geometric(0.3, len(z)) - chance(rng, 0.4, (len(z),)), 20)
    edges = np.sort(normal(rng, len(z), 19), axis=1)
    pick = rng.random(edges.shape).argsort(1) < (n_codes - 1)[:, None]  # any n_codes - 1 edges
    codes: Integers = np.zeros(z.shape, dtype=np.int64)
    for edge in range(19):
        codes += (z > edges[:, edge, None]) & pick[:, edge, None]
    names = np.where(np.arange(20) < n_codes[:, None], rng.random((len(z), 20)), 2.0).argsort(1)
    ordered = chance(rng, 0.2, (len(z), 1))
    return np.where(ordered, codes, np.take_along_axis(names, codes, axis=1)).astype(np.float32)
