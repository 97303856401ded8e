"""What the few-shot classifier and regressor share."""

from __future__ import annotations

import functools
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import suppress
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted

from metaest._checks import check_episodes
from metaest._sklearn import Interval, fit_context, safe_indexing
from metaest._torch import draw_seed, resolve_device, usual_torch
from metaest.exceptions import InvalidParameterError
from metaest.few_shot._adapter import Adapter, Episode
from metaest.few_shot._checks import (
    check_architecture,
    check_checkpoint,
    check_feature_names,
    hold_out,
    prepare_tasks,
)
from metaest.few_shot._descriptions import check_describes
from metaest.few_shot._features import EmbedMixin
from metaest.few_shot._rival import better_of
from metaest.few_shot._rows import categorical_columns, column_medians, read_rows, read_support
from metaest.few_shot._saving import SaveMixin
from metaest.few_shot._start import choose_learner, pretrained_state, starting_state
from metaest.few_shot._unchanged import unchanged_on_failure
from metaest.learners import Learner
from metaest.training import MetaState, meta_train
from metaest.training._rows import readable

_RANGE = [Interval(Integral, 1, None, closed="left"), tuple, list]


class BaseMetaFewShot(EmbedMixin, SaveMixin, BaseEstimator, ABC):
    """Two fits: ``fit_meta`` learns from many tasks, ``fit`` learns one task with what it left.

    What meta-training learned is one frozen value in ``_meta``; only `fit_meta` writes it and
    only `fit` reads it. `fit` keeps a reference to the value that it adapted in
    ``_adapted_from``, so that a later `fit_meta` does not change a fitted estimator.
    """

    _kind: ClassVar[Literal["classification", "regression"]]
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "learner": [str, Learner],
        "backbone": [str, callable],
        "n_shots": _RANGE,
        "n_queries": _RANGE,
        "n_episodes": [Interval(Integral, 1, None, closed="left")],
        "meta_batch_size": [Interval(Integral, 1, None, closed="left")],
        "meta_lr": [Interval(Real, 0, None, closed="neither")],
        "input_shape": [tuple, list, None],
        "standardize": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "patience": [Interval(Integral, 1, None, closed="left"), None],
        "callbacks": [list, tuple, None],
        "device": [str, torch.device],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }
    # A class attribute: scikit-learn wants nothing but parameters set in __init__.
    _meta: MetaState | None = None

    @fit_context(prefer_skip_nested_validation=True)
    def fit_meta(
        self,
        tasks: Any,
        y: Any = None,
        groups: Any = None,
        *,
        validation_tasks: Any = None,
        checkpoint: str | os.PathLike[str] | None = None,
        distill: Any = None,
    ) -> Self:
        """Learn to learn, from many tasks.

        Neither fits nor unfits the estimator: call `fit` next. A second call starts afresh.

        With learner="auto", on tables of up to 100 columns, the pretrained network is kept if it
        does better on held-out tasks (``meta_state_.source`` tells, ``.history[-1]`` has scores).

        Parameters
        ----------
        tasks : TaskSet, list of (X, y), or array-like of shape (n_rows, ...)
            Many tasks; or, with `y`, one pool of many classes (with `groups`, one table of tasks).
            Rows are tables (n_rows, n_features) or images (n_rows, channels, height, width), of
            the same shape in all tasks; columns of DataFrames are matched by name. Text, gaps, and
            tasks that differ in their columns are for learner="in_context".
        y : array-like of shape (n_rows,), default=None
            Labels or target values.
        groups : array-like of shape (n_rows,), default=None
            The task that each row belongs to.
        validation_tasks : TaskSet or list of (X, y), default=None
            Held-out tasks, on which weights are chosen (see :func:`~metaest.training.meta_train`).
            None: `validation_fraction` of the tasks (of a pool's classes), if enough are left.
        checkpoint : path, default=None
            Folder of checkpoints; the same call goes on from there. Needs an int `random_state`.
        distill : estimator, MetaState or Distillation, default=None
            A meta-trained teacher, see :class:`~metaest.training.Distillation`.

        Returns
        -------
        self

        Raises
        ------
        InvalidParameterError
            If a parameter, or the teacher, is not allowed, or the learner not for such tasks.
        TaskError
            If the tasks are empty, of another kind, or have what the learner cannot read.
        UnsupportedTaskError
            If they have class descriptions that the learner cannot use.
        EpisodeError
            If they have too few classes or rows for the episodes.
        CheckpointError
            If the folder holds a checkpoint of another run, or cannot be written to.

        Warns
        -----
        MetaTrainingWarning
            If interrupted (Ctrl-C) or diverged: the best weights so far are kept.
        """
        check_checkpoint(checkpoint, self.random_state)
        seed = draw_seed(self.random_state)
        n_ways = getattr(self, "n_ways", None)
        train, held_out = prepare_tasks(
            tasks, y, groups, validation_tasks, kind=self._kind, input_shape=self.input_shape
        )
        learner = choose_learner(self, tasks=train)
        train, held_out = readable(train, held_out, learner)
        check_describes(learner, train.description_size)
        if held_out is None:
            train, held_out = hold_out(train, self.validation_fraction, n_ways, seed)
        shape = {"n_ways": n_ways, "n_shots": self.n_shots, "n_queries": self.n_queries}
        self._meta = meta_train(
            learner,
            train,
            start=pretrained_state(learner, train[0].input_shape, self._kind),
            backbone=self.backbone,
            validation_tasks=held_out,
            **shape,
            n_episodes=self.n_episodes,
            meta_batch_size=self.meta_batch_size,
            meta_lr=self.meta_lr,
            patience=self.patience,
            callbacks=self.callbacks,
            checkpoint=checkpoint,
            distill=distill,
            device=self.device,
            standardize=self.standardize,
            random_state=seed,
            verbose=int(self.verbose),
        )
        if distill is None:
            self._meta = better_of(self._meta, self, held_out, shape, seed)
        return self

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any) -> Self:
        """Learn one task from its support set.

        Starts from what `fit_meta` learned; without it, by default a table from pretrained weights
        and all else from untrained ones.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features) or (n_rows, channels, height, width)
            Numeric and finite; for learners that read tables, as the default does, also with
            text, categories, dates and gaps.
        y : array-like of shape (n_rows,)
            Any number of classes from 2 and of rows from 1 per class; or target values.

        Returns
        -------
        self

        Raises
        ------
        ArchitectureMismatchError
            If the rows, the learner or the backbone are not those of meta-training.
        TaskError
            If the task has one class, labels are missing, or what was learned is not finite.
        """
        with unchanged_on_failure(self):
            learner = choose_learner(self, X)
            rows, y = self._validate(X, y, learner)
            return self._learn(learner, rows, *self._encode_targets(y))

    @property
    def meta_state_(self) -> MetaState:
        """What meta-training learned, or the pretrained or untrained state of a `fit` without it.

        Of type :class:`~metaest.training.MetaState`; its ``source`` says which of them it is.
        """
        state = self._meta or vars(self).get("_adapted_from")
        if state is None:
            name = type(self).__name__
            raise AttributeError(f"{name} has no meta_state_ before fit_meta or fit.")
        return state

    def set_params(self, **params: Any) -> Self:
        """Set parameters, those of a learner object as ``learner__<name>``.

        Parameters
        ----------
        **params

        Returns
        -------
        self
        """
        nested = [key for key in params if key.startswith("learner__")]
        learner = params.get("learner", self.learner)
        if nested and isinstance(learner, str):
            made = type(choose_learner(type(self)(learner), [[0.0]])).__name__
            raise InvalidParameterError(
                f"{nested[0]!r} cannot be set: learner={learner!r} is a name. Pass the object "
                f"instead, learner={made}(), from metaest.learners."
            )
        return super().set_params(**params)

    def __sklearn_clone__(self) -> Self:
        copy = super().__sklearn_clone__()
        if self._meta is not None:
            copy._meta = self._meta
        return copy

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        with suppress(InvalidParameterError):  # told by fit
            reads, inputs = choose_learner(self, [[0.0]]).any_columns, tags.input_tags
            inputs.allow_nan = inputs.string = inputs.categorical = reads
        return tags

    @abstractmethod
    def _encode_targets(self, y: np.ndarray) -> tuple[np.ndarray, int | None]:
        """Return the targets as numbers, and the number of classes or None."""

    def _validate(self, X: Any, y: Any, learner: Learner) -> tuple[np.ndarray, np.ndarray]:
        """Return X as rows (n, *input_shape) and y; remember the columns."""
        return read_support(self, X, y, tables=learner.any_columns)

    @usual_torch()
    def _learn(
        self,
        learner: Learner,
        rows: np.ndarray,
        targets: np.ndarray,
        n_classes: int | None,
        class_x: np.ndarray | None = None,
    ) -> Self:
        """Learn one task from rows, class descriptions, or both."""
        start = starting_state(self, learner, rows, targets, n_classes)
        adapter = Adapter(start, learner, resolve_device(self.device))
        self.state_ = adapter.adapt(rows, targets, n_classes, class_x, categorical_columns(self))
        self.learner_ = learner
        self._adapted_from = start
        self._medians = column_medians(rows) if learner.any_columns else None
        return self

    @usual_torch()
    def _predict(self, X: Any) -> Any:
        """Probabilities, or the mean and variance on the scale of the targets."""
        check_is_fitted(self)
        rows = read_rows(self, X, tables=self.learner_.any_columns)
        start = self._adapted_from
        check_architecture(start, start.spec.backbone, rows.shape[1:])
        return Adapter(start, self.learner_, resolve_device(self.device)).predict(self.state_, rows)

    @usual_torch()
    def _predict_episodes(self, X: Any, y: Any, episodes: Iterable[Any]) -> list[tuple[Any, Any]]:
        """Return the classes (or None) and the prediction of each episode."""
        worker = clone(self)  # its attributes may change
        learner = choose_learner(self, X)
        rows, y = worker._validate(X, y, learner)
        parts = check_episodes(episodes, len(rows), to_predict=True)
        # Untrained networks standardise by their own support set, codes are those of its columns.
        if self._meta is None or "categories_" in vars(worker):
            take = functools.partial(safe_indexing, X)
            fits = ((clone(self).fit(take(s), y[s]), query) for s, query in parts)
            return [(getattr(one, "classes_", None), one._predict(take(q))) for one, q in fits]
        check_architecture(self._meta, self.backbone, rows.shape[1:])
        check_feature_names(self._meta, getattr(worker, "feature_names_in_", None))
        jobs, classes = [], []
        for support, query in parts:
            targets, n_classes = worker._encode_targets(y[support])
            jobs.append(Episode(support, query, targets, n_classes))
            classes.append(getattr(worker, "classes_", None))
        adapter = Adapter(self._meta, learner, resolve_device(self.device))
        predictions = adapter.predict_many(rows, jobs)
        return list(zip(classes, predictions, strict=True))
