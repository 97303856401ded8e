"""Few-shot classification."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from metaest._sklearn import Interval, fit_context
from metaest.exceptions import TaskError
from metaest.few_shot._base import BaseMetaFewShot
from metaest.few_shot._descriptions import codes_of, forget_columns, read_descriptions
from metaest.few_shot._score import ScoreMixin
from metaest.few_shot._start import choose_learner
from metaest.few_shot._unchanged import unchanged_on_failure
from metaest.learners import Learner


class MetaFewShotClassifier(ScoreMixin, BaseMetaFewShot):
    """Classifier that learns a new task from a few rows, having learned from many tasks before.

    `fit_meta` meta-trains on many tasks, once and slowly; `fit` then learns one task from its
    support set, quickly; `predict` needs no support set any more. What `fit_meta` learned
    survives ``clone``, a second `fit`, grid search, pipelines, pickling and :meth:`save`.
    Without `fit_meta`, `fit` starts a table from pretrained weights; with a learner other than
    the default, from untrained ones: a baseline.

    Parameters
    ----------
    learner : str or Learner, default="auto"
        How a task is learned. "auto": a table without `fit_meta` by the pretrained network that
        comes with the package (:class:`~metaest.learners.InContextTransformer`), which also takes
        DataFrames with strings and gaps; all else by "protonet", unless on held-out tasks the
        pretrained network does better without meta-training. Or a name in
        :data:`metaest.learners.LEARNERS`, or an object such as ``MAML(inner_steps=5)``, whose
        parameters are ``learner__inner_steps`` in a grid.
    backbone : str or callable, default="auto"
        The network under it: "auto" (convolutions for images, a small network that starts at
        the identity for rows), "conv4", "mlp", "residual", "identity" (none), or a factory
        ``backbone(input_shape) -> torch.nn.Module`` from ``(n, *input_shape)`` to ``(n, d)``.
    n_ways : int, (low, high) or None, default=5
        Classes of an episode of meta-training. `fit` takes any number of classes. None: all
        classes of a task.
    n_shots : int or (low, high), default=5
        Support rows per class in an episode. `fit` takes any number of rows. From 0 where the
        tasks have class descriptions.
    n_queries : int or (low, high), default=15
        Query rows per class in an episode.
    n_episodes : int, default=2000
        Episodes of meta-training, so ``n_episodes / meta_batch_size`` steps.
    meta_batch_size : int, default=16
        Episodes of a step.
    meta_lr : float, default=1e-3
        Highest learning rate of meta-training.
    input_shape : (channels, height, width) or None, default=None
        Shape of one row where images come as flat rows, as pipelines need them.
    standardize : bool, default=True
        Whether the network shifts and scales the columns (of images the channels) first. False
        for rows whose columns share a scale that matters, such as embeddings of texts or TF-IDF
        and its singular vectors.
    validation_fraction : float, default=0.2
        Share of the tasks (of the classes of a pool) that `fit_meta` holds out to choose the
        best weights; 0 holds out none. In [0, 1).
    patience : int or None, default=None
        End meta-training after so many of its 20 rounds without gain on held-out tasks. No
        effect where none are held out.
    callbacks : list of skorch callbacks, default=None
        For meta-training.
    device : str or torch.device, default="auto"
        "auto" takes a GPU where there is one.
    random_state : int, RandomState instance or None, default=None
        Of the weights at the start, the held-out tasks and the episodes.
    verbose : int, default=0
        1 shows a progress bar while meta-training.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels seen in `fit`, sorted.
    n_features_in_ : int
        Number of columns seen in `fit` (images: channels).
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, where X has names that are all strings.
    categories_ : list of (ndarray of str, or None), length `n_features_in_`
        Categories of each column seen in `fit`, in the order of an ordered category's type, else
        of their names; None for a column of numbers. Only where the learner takes tables and X
        has categories, strings or dates.
    learner_ : Learner
        The learner that `fit` used.
    state_ : dict of Tensor, each of shape (1, ...)
        What it learned from the support set, on the CPU.
    meta_state_ : MetaState
        What `fit_meta` learned, or the pretrained or untrained state of a `fit` without it.

    See Also
    --------
    MetaFewShotRegressor : The same for real-valued targets.
    metaest.model_selection.cross_validate_episodes : An honest score over many episodes.

    Notes
    -----
    With `standardize`, rows are standardised inside the network, with the statistics of the
    meta-training tasks (without `fit_meta`, of the support set). A row's prediction does not
    depend on the rows it comes with. A label that `fit` has not seen is never predicted: in
    `score` it counts as wrong.

    References
    ----------
    Hospedales, Antoniou, Micaelli and Storkey, Meta-Learning in Neural Networks: A Survey,
    TPAMI 2022. Each learner in :mod:`metaest.learners` names its own paper.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from metaest import MetaFewShotClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> seen = y < 7
    >>> clf = MetaFewShotClassifier(n_ways=3, n_shots=1, n_episodes=64, random_state=0)
    >>> clf = clf.fit_meta(X[seen], y[seen])  # many classes
    >>> support = [np.flatnonzero(y == digit)[0] for digit in (7, 8, 9)]
    >>> clf.fit(X[support], y[support]).classes_  # new classes, one row each
    array([7, 8, 9])
    >>> bool(clf.score(X[~seen], y[~seen]) > 0.6)
    True
    """

    _kind = "classification"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseMetaFewShot._parameter_constraints,
        "n_shots": [Interval(Integral, 0, None, closed="left"), tuple, list],
        "n_ways": [Interval(Integral, 2, None, closed="left"), tuple, list, None],
    }

    def __init__(
        self,
        learner: str | Learner = "auto",
        *,
        backbone: str | Callable[[tuple[int, ...]], torch.nn.Module] = "auto",
        n_ways: int | tuple[int, int] | None = 5,
        n_shots: int | tuple[int, int] = 5,
        n_queries: int | tuple[int, int] = 15,
        n_episodes: int = 2000,
        meta_batch_size: int = 16,
        meta_lr: float = 1e-3,
        input_shape: tuple[int, ...] | None = None,
        standardize: bool = True,
        validation_fraction: float = 0.2,
        patience: int | None = None,
        callbacks: Sequence[Any] | None = None,
        device: str | torch.device = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.learner = learner
        self.backbone = backbone
        self.n_ways = n_ways
        self.n_shots = n_shots
        self.n_queries = n_queries
        self.n_episodes = n_episodes
        self.meta_batch_size = meta_batch_size
        self.meta_lr = meta_lr
        self.input_shape = input_shape
        self.standardize = standardize
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.callbacks = callbacks
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any = None,
        y: Any = None,
        *,
        class_descriptions: Mapping[Any, Any] | None = None,
    ) -> Self:
        """Learn one task from its support set, from descriptions of its classes, or from both.

        Starts from what `fit_meta` learned; without it, by default a table from pretrained weights
        and all else from untrained ones.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features) or (n_rows, channels, height, width)
            Numeric and finite; for learners that read tables, as the default does, also with
            text, categories, dates and gaps. May be left out, with `y`, where there are
            descriptions.
        y : array-like of shape (n_rows,)
            Any number of classes from 2 and of rows from 1 per class.
        class_descriptions : mapping of label to array-like of shape (e,), default=None
            A vector for each class, of those in `y` and of others without rows (zero-shot
            learning). For learners that can use them, such as "protonet".

        Returns
        -------
        self

        Raises
        ------
        ArchitectureMismatchError
            If the rows, the descriptions, the learner or the backbone are not those of
            meta-training.
        TaskError
            If the task has one class, labels or descriptions are missing, or what was learned is
            not finite.
        UnsupportedTaskError
            If the learner cannot use these descriptions.
        """
        if class_descriptions is None:
            if X is None:
                raise TaskError("fit needs rows X with labels y, or class_descriptions.")
            return super().fit(X, y)
        learner = choose_learner(self)
        classes, class_x = read_descriptions(class_descriptions, learner, self._meta)
        if X is None and y is not None:
            raise TaskError("fit got labels y without rows X. Pass both, or neither.")
        with unchanged_on_failure(self):
            if X is None:
                rows, codes = self._no_rows(class_x.shape[1]), np.zeros(0, dtype=np.int64)
            else:
                rows, y = self._validate(X, y, learner)
                codes = codes_of(y, classes)
            self.classes_ = classes
            return self._learn(learner, rows, codes, len(classes), class_x)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each class.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features) or (n_rows, channels, height, width)

        Returns
        -------
        ndarray of float64, shape (n_rows, n_classes)
            In the order of `classes_`; rows sum to 1.
        """
        return self._predict(X)

    def predict(self, X: Any) -> np.ndarray:
        """Most probable class.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features) or (n_rows, channels, height, width)

        Returns
        -------
        ndarray of shape (n_rows,)
            Of the type of the labels seen in `fit`.
        """
        check_is_fitted(self)
        return self.classes_[self._predict(X).argmax(axis=1)]

    def predict_episodes(
        self, X: Any, y: Any, episodes: Iterable[tuple[Any, Any]]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Fit and predict many episodes of one table, several at once.

        The same as ``clone(self).fit(X[support], y[support]).predict_proba(X[query])`` for each
        episode, but quicker once meta-trained. Does not change the estimator.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features) or (n_rows, channels, height, width)
        y : array-like of shape (n_rows,)
        episodes : iterable of (support, query)
            Positions of the rows of each episode, as splitters yield them.

        Returns
        -------
        list of (classes, probabilities)
            Of each episode: ndarray of shape (n_classes,), sorted, and ndarray of float64, shape
            (n_query_rows, n_classes).
        """
        return self._predict_episodes(X, y, episodes)

    def _no_rows(self, description_size: int) -> np.ndarray:
        if self._meta is not None:
            spec = self._meta.spec
            return forget_columns(self, spec.input_shape, self._meta.feature_names)
        return forget_columns(self, tuple(self.input_shape or (description_size,)), None)

    def _encode_targets(self, y: np.ndarray) -> tuple[np.ndarray, int | None]:
        classes, codes = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise TaskError(
                "classification needs rows of at least 2 classes to learn from; got 1 class, "
                f"{classes.tolist()[0]!r}. Add rows of the other classes."
            )
        self.classes_ = classes
        return codes, len(classes)
