"""Checks of the settings of meta-training."""

from __future__ import annotations

from numbers import Real
from typing import Any

from metaest._checks import check_int
from metaest.exceptions import InvalidParameterError


def check_settings(
    n_episodes: int,
    meta_batch_size: int,
    meta_lr: float,
    lr_schedule: str,
    max_grad_norm: float | None,
    patience: int | None,
) -> None:
    """Raise InvalidParameterError for a setting of meta-training that is out of its range."""
    check_int(n_episodes, "n_episodes")
    check_int(meta_batch_size, "meta_batch_size")
    if not _is_above_zero(meta_lr):
        raise InvalidParameterError(f"meta_lr must be above 0, got {meta_lr!r}.")
    if max_grad_norm is not None and not _is_above_zero(max_grad_norm):
        raise InvalidParameterError(
            f"max_grad_norm must be above 0, or None for no limit; got {max_grad_norm!r}."
        )
    if lr_schedule not in ("cosine", "constant"):
        raise InvalidParameterError(
            f"lr_schedule must be 'cosine' or 'constant', got {lr_schedule!r}."
        )
    if patience is not None:
        check_int(patience, "patience")


def _is_above_zero(value: Any) -> bool:
    return isinstance(value, Real) and float(value) > 0
