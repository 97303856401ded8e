"""Search spaces of common estimators."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC, SVR

from metaest.exceptions import InvalidParameterError
from metaest.tuning._configurations import Space


def default_space(estimator: Any) -> dict[str, BaseDistribution]:
    """Return a search space for a common scikit-learn estimator.

    The spaces are small: the parameters that matter most, in ranges that suit most data sets of
    up to some thousand rows. The embedded history was searched in the same spaces. Support
    vector machines and linear models expect standardised columns.

    Parameters
    ----------
    estimator : estimator
        One of HistGradientBoostingClassifier, HistGradientBoostingRegressor,
        RandomForestClassifier, RandomForestRegressor, SVC, SVR, LogisticRegression, Ridge and
        MLPClassifier, or a Pipeline that ends in one. Subclasses are not known: they may mean
        something else by a parameter.

    Returns
    -------
    dict of str to optuna distribution
        By parameter name; in a Pipeline with the step's name and two underscores before it.

    Raises
    ------
    InvalidParameterError
        If the estimator is none of these.

    References
    ----------
    Probst, Boulesteix and Bischl, Tunability: Importance of Hyperparameters of Machine Learning
    Algorithms, JMLR 2019.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn.svm import SVC
    >>> from metaest.tuning import default_space
    >>> list(default_space(make_pipeline(StandardScaler(), SVC())))
    ['svc__C', 'svc__gamma', 'svc__class_weight']
    """
    last, prefix = last_step(estimator)
    make = _SPACES.get(type(last))
    if make is None:
        known = ", ".join(sorted(cls.__name__ for cls in _SPACES))
        raise InvalidParameterError(
            f"there is no default search space for {type(last).__name__}; there is one for "
            f"{known}, and for a Pipeline that ends in one. Pass space={{...}}, a dict of "
            "parameter name to Optuna distribution."
        )
    return {prefix + name: distribution for name, distribution in make().items()}


def last_step(estimator: Any) -> tuple[Any, str]:
    """Return a Pipeline's last step, and the prefix of its parameters; else the estimator, ""."""
    prefix = ""
    while isinstance(estimator, Pipeline):
        name, estimator = estimator.steps[-1]
        prefix += f"{name}__"
    return estimator, prefix


def model_name(estimator: Any, searched: Iterable[str] = ()) -> str | None:
    """Return the class name of what is tuned, a Pipeline's last step; None if it is unknown.

    Parameters
    ----------
    estimator : estimator, class, name or None
    searched : iterable of str, default=()
        Parameters of the search; where the last step is one of them, several models are searched.

    Raises
    ------
    InvalidParameterError
        If it is none of these.
    """
    if estimator is None or (isinstance(estimator, str) and estimator):
        return estimator
    if isinstance(estimator, type):
        return estimator.__name__
    last, prefix = last_step(estimator)
    if not hasattr(estimator, "fit"):
        raise InvalidParameterError(
            "estimator must be an estimator, its class or the name of that, such as 'SVC'; got "
            f"{estimator!r}."
        )
    is_searched = any(prefix.startswith(f"{name}__") for name in searched)
    return type(last).__name__ if hasattr(last, "fit") and not is_searched else None


def _boosting() -> Space:
    return {
        "learning_rate": FloatDistribution(0.01, 1.0, log=True),
        "max_iter": IntDistribution(16, 128, log=True),
        "max_leaf_nodes": IntDistribution(4, 32, log=True),
        "min_samples_leaf": IntDistribution(1, 64, log=True),
        "l2_regularization": FloatDistribution(1e-4, 1e2, log=True),
        "max_features": FloatDistribution(0.1, 1.0),
    }


def _forest() -> Space:
    return {
        "max_features": FloatDistribution(0.05, 1.0),
        "min_samples_leaf": IntDistribution(1, 32, log=True),
        "min_samples_split": IntDistribution(2, 64, log=True),
        "max_samples": FloatDistribution(0.2, 1.0),
    }


def _forest_classifier() -> Space:
    return {
        **_forest(),
        "criterion": CategoricalDistribution(["gini", "entropy"]),
        "class_weight": CategoricalDistribution([None, "balanced"]),
    }


def _svc() -> Space:
    # No other kernel than the default: the polynomial one may not end for minutes on 60 rows.
    return {
        "C": FloatDistribution(1e-2, 1e3, log=True),
        "gamma": FloatDistribution(1e-5, 1e1, log=True),
        "class_weight": CategoricalDistribution([None, "balanced"]),
    }


def _svr() -> Space:
    return {
        "C": FloatDistribution(1e-2, 1e3, log=True),
        "gamma": FloatDistribution(1e-5, 1e1, log=True),
        "epsilon": FloatDistribution(1e-3, 1.0, log=True),
    }


def _logistic() -> Space:
    return {
        "C": FloatDistribution(1e-4, 1e3, log=True),
        "class_weight": CategoricalDistribution([None, "balanced"]),
        "fit_intercept": CategoricalDistribution([True, False]),
    }


def _ridge() -> Space:
    return {
        "alpha": FloatDistribution(1e-4, 1e4, log=True),
        "fit_intercept": CategoricalDistribution([True, False]),
    }


def _perceptron() -> Space:
    return {
        "hidden_layer_sizes": IntDistribution(16, 256, log=True),  # one hidden layer
        "alpha": FloatDistribution(1e-6, 1e-1, log=True),
        "learning_rate_init": FloatDistribution(1e-4, 1e-1, log=True),
    }


_SPACES: dict[type, Callable[[], Space]] = {
    HistGradientBoostingClassifier: _boosting,
    HistGradientBoostingRegressor: _boosting,
    RandomForestClassifier: _forest_classifier,
    RandomForestRegressor: _forest,
    SVC: _svc,
    SVR: _svr,
    LogisticRegression: _logistic,
    Ridge: _ridge,
    MLPClassifier: _perceptron,
}
