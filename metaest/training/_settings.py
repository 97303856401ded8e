"""The settings of meta-training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from metaest._checks import check_int, is_real
from metaest.exceptions import InvalidParameterError


@dataclass(frozen=True)
class Settings:
    """What the weights depend on, besides learner, network, tasks and episodes.

    All parameters are those of :func:`~metaest.training.meta_train`.

    Raises
    ------
    InvalidParameterError
        If one is out of its range.
    """

    n_episodes: int
    meta_batch_size: int
    meta_lr: float
    lr_schedule: Literal["cosine", "constant"]
    max_grad_norm: float | None
    patience: int | None
    autocast: Literal["auto"] | bool
    standardize: bool
    random_state: int

    def __post_init__(self) -> None:
        check_int(self.n_episodes, "n_episodes")
        check_int(self.meta_batch_size, "meta_batch_size")
        check_int(self.random_state, "random_state", low=0)
        if not is_real(self.meta_lr) or not self.meta_lr > 0:
            raise InvalidParameterError(f"meta_lr must be above 0, got {self.meta_lr!r}.")
        norm = self.max_grad_norm
        if norm is not None and (not is_real(norm) or not norm > 0):
            raise InvalidParameterError(
                f"max_grad_norm must be above 0, or None for no limit; got {norm!r}."
            )
        if self.lr_schedule not in ("cosine", "constant"):
            raise InvalidParameterError(
                f"lr_schedule must be 'cosine' or 'constant', got {self.lr_schedule!r}."
            )
        if self.patience is not None:
            check_int(self.patience, "patience")
