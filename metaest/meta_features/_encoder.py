"""DatasetEncoder."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from importlib import resources
from numbers import Real
from typing import Any, Literal

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from metaest._checks import check_int
from metaest._torch import draw_seed, resolve_device
from metaest.exceptions import FileFormatError, InvalidParameterError, TaskError
from metaest.meta_features._base import DatasetTransformer
from metaest.meta_features._canonical import read_samples
from metaest.meta_features._encoder_describe import describe, describe_halves
from metaest.meta_features._encoder_metric import check_surfaces, rank_similarity
from metaest.meta_features._encoder_model import EncoderModel, train_model

_SHIPPED = "data/encoder.safetensors"


class DatasetEncoder(DatasetTransformer, BaseEstimator):
    r"""Embed data sets so that distances tell how alike they are, and how alike they are to tune.

    A set network (Dataset2Vec) reads the cells of the table: a function of each cell and its class
    is averaged over rows, a function of that over columns and classes. It is trained so that two
    samples of one data set, with other rows and other columns, are close and samples of two data
    sets are apart.

    With `surfaces`, a second part of the coordinates is trained so that distances predict how
    similarly configurations rank on two data sets. Its inputs are :class:`MetaFeatures`, the
    network's output and the response of cheap learners (trees, forests, neighbours, linear and
    kernel ridge regression) to their regularisation. As a few dozen data sets are few examples,
    only weights are learned, and strongly drawn to how little a feature differs between halves of
    one data set:

    .. math:: d(a, b)^2 = (1 - s) \lVert u_a - u_b \rVert^2 + s \lVert P W (f_a - f_b) \rVert^2

    with the network's unit vector u, the features f, their weights W, the main directions P and the
    share s = `surface_weight`.

    At most 2,000 rows and 100 columns are read, drawn by hashes of their contents: the result does
    not depend on the order of rows or columns or on the names of classes.

    Parameters
    ----------
    n_components : int, default=32
        Coordinates; with `surfaces` a quarter of them is of the second part.
    n_steps : int, default=200
        Of the training of the network, each with 16 data sets.
    surface_weight : float, default=0.6
        Share of the second part in the squared distance, 0 to 1; without `surfaces` it is 0.
    kind : {"auto", "classification", "regression"}, default="auto"
        What the targets are. "auto" asks :func:`sklearn.utils.multiclass.type_of_target`, to which
        whole numbers are classes.
    random_state : int, RandomState or None, default=None
        Of the weights and of the samples in training. `transform` draws nothing by chance.
    device : str or torch.device, default="auto"
        Where the network is trained. `transform` uses the CPU.
    verbose : int, default=0
        1 shows a progress bar.

    Attributes
    ----------
    model_ : EncoderModel
        What was learned; private in its details.
    loss_curve_ : list of float
        Of each step of the network's training.

    References
    ----------
    Jomaa, Schmidt-Thieme and Grabocka, Dataset2Vec: learning dataset meta-features, Data Mining
    and Knowledge Discovery 2021.

    Fürnkranz and Petrak, An evaluation of landmarking variants, ECML workshop 2001.

    Examples
    --------
    >>> from sklearn.datasets import load_iris, load_wine
    >>> from metaest.meta_features import DatasetEncoder
    >>> encoder = DatasetEncoder.pretrained()
    >>> encoder.transform([load_iris(return_X_y=True), load_wine(return_X_y=True)]).shape
    (2, 32)
    """

    def __init__(
        self,
        n_components: int = 32,
        *,
        n_steps: int = 200,
        surface_weight: float = 0.6,
        kind: Literal["auto", "classification", "regression"] = "auto",
        random_state: int | np.random.RandomState | None = None,
        device: str | torch.device = "auto",
        verbose: int = 0,
    ) -> None:
        self.n_components = n_components
        self.n_steps = n_steps
        self.surface_weight = surface_weight
        self.kind = kind
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def fit(
        self,
        datasets: Iterable[tuple[Any, Any]],
        surfaces: Any = None,
    ) -> DatasetEncoder:
        """Train on data sets.

        Parameters
        ----------
        datasets : iterable of (X, y)
            At least two. X of shape (n_rows, n_columns), an array or a DataFrame with numbers,
            strings, categories, dates, missing and infinite values; y of shape (n_rows,). Of an
            array, a single axis is one column, and all axes after the first are columns (images).
        surfaces : array-like of shape (n_datasets, n_configurations), list of such or None
            Scores of the same configurations on each data set, NaN where unknown. Only their
            order within a data set counts. A list holds one array for each kind of model.

        Returns
        -------
        DatasetEncoder
            Itself.

        Raises
        ------
        TaskError
            If there are fewer than two data sets, or one cannot be used; the message names it.
        InvalidParameterError
            If a parameter is out of its range or `surfaces` does not fit `datasets`.
        """
        self._check_parameters()
        device = resolve_device(self.device)
        samples = list(read_samples(datasets, self.kind))
        if len(samples) < 2:
            raise TaskError("DatasetEncoder compares data sets: pass at least two, got 1.")
        tables = check_surfaces(surfaces, len(samples))
        weight = self.surface_weight if tables else 0.0
        seed = draw_seed(self.random_state)
        descriptions = [describe(sample, with_learners=weight > 0) for sample in samples]
        self.model_, self.loss_curve_ = train_model(
            samples,
            descriptions,
            describe_halves(samples, seed) if weight else [],
            [rank_similarity(table) for table in tables],
            n_components=self.n_components,
            n_steps=self.n_steps,
            surface_weight=weight,
            seed=seed,
            device=device,
            verbose=self.verbose,
        )
        return self

    def transform(self, datasets: Iterable[tuple[Any, Any]]) -> Any:
        """Embed data sets.

        Parameters
        ----------
        datasets : iterable of (X, y)
            As for :meth:`fit`; one is enough.

        Returns
        -------
        ndarray of shape (n_datasets, n_components)
            float64, finite; a DataFrame after ``set_output(transform="pandas")``.

        Raises
        ------
        NotFittedError
            If there was no `fit`.
        TaskError
            If a data set cannot be used; the message names it.
        """
        check_is_fitted(self, "model_")
        with_learners = self.model_.surface is not None
        samples = read_samples(datasets, self.kind)
        return self.model_.embed([describe(s, with_learners=with_learners) for s in samples])

    def get_feature_names_out(self, input_features: None = None) -> np.ndarray:
        """Return the names of the coordinates, known before `fit`; shape (n_components,)."""
        n = self.model_.n_components if hasattr(self, "model_") else self.n_components
        names = [f"datasetencoder{i}" for i in range(n)]
        return np.array(names, dtype=object)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what was learned to one file, without pickle.

        Parameters
        ----------
        path : path-like

        Raises
        ------
        NotFittedError
            If there was no `fit`.
        OSError
            If the folder does not exist, or the file cannot be written.

        Warns
        -----
        UserWarning
            If `random_state` is a ``RandomState`` object, which is left out.
        """
        from metaest.persistence import encode_parameters, write_file  # brings all learners

        check_is_fitted(self, "model_")
        content, tensors = self.model_.pack()
        content["estimator"] = type(self).__name__
        content["parameters"] = encode_parameters(self.get_params())
        content["loss_curve"] = self.loss_curve_
        write_file(path, content, tensors)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> DatasetEncoder:
        """Read what :meth:`save` wrote.

        Raises
        ------
        FileFormatError
            If the file is corrupt, truncated or of another estimator.
        NewerVersionError
            If a newer metaest wrote it.
        """
        from metaest.persistence import decode, read_file

        content, tensors = read_file(path)
        if content.get("estimator") != cls.__name__:
            raise FileFormatError(
                f"{path} holds {content.get('estimator', 'another object')}, not {cls.__name__}; "
                "load it with the class that saved it."
            )
        try:
            encoder = cls(**{k: decode(v, path) for k, v in content["parameters"].items()})
            encoder.model_ = EncoderModel.unpack(content, tensors)
            encoder.loss_curve_ = content["loss_curve"]
        except (KeyError, TypeError, RuntimeError) as error:
            raise FileFormatError(
                f"{path} does not hold what {cls.__name__} needs ({error}); save the encoder again."
            ) from error
        return encoder

    @classmethod
    def pretrained(cls) -> DatasetEncoder:
        """Return the encoder that comes with metaest; its file is read once per process.

        It was trained on 52 classification data sets of OpenML and on the response surfaces of
        trees, linear models, support vector machines, forests and boosting. ``data/encoder.json``
        beside it says how, and how well it does.
        """
        shipped = _read_shipped()
        encoder = cls(**shipped.get_params())
        encoder.model_, encoder.loss_curve_ = shipped.model_, shipped.loss_curve_
        return encoder

    def _check_parameters(self) -> None:
        for name, low in (("n_components", 2), ("n_steps", 0)):
            check_int(getattr(self, name), name, low=low)
        weight: Any = self.surface_weight
        if not isinstance(weight, Real) or not 0 <= float(weight) <= 1:
            raise InvalidParameterError(
                f"surface_weight must be a number from 0 to 1, got {weight!r}."
            )


@lru_cache(maxsize=1)
def _read_shipped() -> DatasetEncoder:
    shipped = resources.files("metaest.meta_features").joinpath(_SHIPPED)
    with resources.as_file(shipped) as path:
        return DatasetEncoder.load(path)
