"""Few-shot regression."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.base import RegressorMixin

from metaest._checks import check_numeric_targets
from metaest.exceptions import UnsupportedTaskError
from metaest.few_shot._base import BaseMetaFewShot
from metaest.learners import LEARNERS, Learner


class MetaFewShotRegressor(RegressorMixin, BaseMetaFewShot):
    """Regressor that learns a new task from a few rows, having learned from many tasks before.

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
        DataFrames with strings and gaps; all else by "deep_kernel_gp", unless on held-out
        tasks the pretrained network does better without meta-training. Or a name in
        :data:`metaest.learners.LEARNERS` whose class can learn regression, or an object such as
        ``MAML(inner_steps=5)``, whose parameters are ``learner__inner_steps`` in a grid.
    backbone : str or callable, default="auto"
        The network under it: "auto" (convolutions for images, an MLP for rows), "conv4", "mlp",
        "residual", or a factory ``backbone(input_shape) -> torch.nn.Module`` from
        ``(n, *input_shape)`` to ``(n, d)``.
    n_shots : int or (low, high), default=5
        Support rows of an episode of meta-training. `fit` takes any number of rows.
    n_queries : int or (low, high), default=15
        Query rows of an episode.
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
        Share of the tasks that `fit_meta` holds out to choose the best weights; 0 holds out
        none. In [0, 1).
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
    MetaFewShotClassifier : The same for classes.

    Notes
    -----
    Rows and targets are standardised with the statistics of the meta-training tasks (without
    `fit_meta`, of the support set); predictions come back on the scale of the targets. A row's
    prediction does not depend on the rows it comes with.

    References
    ----------
    Finn, Abbeel and Levine, Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks,
    ICML 2017. Each learner in :mod:`metaest.learners` names its own paper.

    Examples
    --------
    >>> import numpy as np
    >>> from metaest import MetaFewShotRegressor
    >>> rng = np.random.default_rng(0)
    >>> def wave():
    ...     x = rng.uniform(-3, 3, size=(30, 1))
    ...     return x, rng.uniform(1, 2) * np.sin(x[:, 0])
    >>> reg = MetaFewShotRegressor("ridge", n_shots=5, n_episodes=160, random_state=0)
    >>> reg = reg.fit_meta([wave() for _ in range(20)])  # many tasks
    >>> X, y = wave()
    >>> bool(reg.fit(X[:5], y[:5]).score(X[5:], y[5:]) > 0)  # a new one, from five rows
    True
    """

    _kind = "regression"

    def __init__(
        self,
        learner: str | Learner = "auto",
        *,
        backbone: str | Callable[[tuple[int, ...]], torch.nn.Module] = "auto",
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

    def predict(
        self, X: Any, return_std: bool = False
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Predicted target, with its standard deviation if asked for.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features) or (n_rows, channels, height, width)
        return_std : bool, default=False

        Returns
        -------
        mean : ndarray of float64, shape (n_rows,)
        std : ndarray of float64, shape (n_rows,)
            Only with ``return_std=True``. Where all labelled targets are equal, which tells no
            scale, the pretrained network gives 1 % of their size.

        Raises
        ------
        UnsupportedTaskError
            If the standard deviation is asked of a learner that has none.
        """
        mean, variance = self._predict(X)
        if not return_std:
            return mean.numpy()
        if variance is None:
            able = [repr(name) for name, cls in LEARNERS.items() if cls.predicts_variance]
            raise UnsupportedTaskError(
                f"return_std=True, but {type(self.learner_).__name__} predicts no variance. Use "
                f"learner={' or '.join(able)}, or a Learner of your own whose predict returns "
                "Gaussian(mean, variance)."
            )
        return mean.numpy(), variance.sqrt().numpy()

    def predict_episodes(
        self, X: Any, y: Any, episodes: Iterable[tuple[Any, Any]]
    ) -> list[np.ndarray]:
        """Fit and predict many episodes of one table, several at once.

        The same as ``clone(self).fit(X[support], y[support]).predict(X[query])`` for each
        episode, but quicker once meta-trained. Does not change the estimator.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features) or (n_rows, channels, height, width)
        y : array-like of shape (n_rows,)
        episodes : iterable of (support, query)
            Positions of the rows of each episode, as splitters yield them.

        Returns
        -------
        list of ndarray of float64, shape (n_query_rows,)
        """
        return [mean.numpy() for _, (mean, _) in self._predict_episodes(X, y, episodes)]

    def _encode_targets(self, y: np.ndarray) -> tuple[np.ndarray, int | None]:
        return check_numeric_targets(y, "the support set"), None
