"""The history that comes with metaest."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from optuna.distributions import BaseDistribution, json_to_distribution
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from metaest.exceptions import HistoryError
from metaest.tuning._record import SearchRecord
from metaest.tuning._spaces import last_step
from metaest.tuning._trials import make_trials

FORMAT = 1
#: The models that there are searches of, by the name of the file.
MODELS: dict[str, type] = {
    "svc": SVC,
    "forest": RandomForestClassifier,
    "boosting": HistGradientBoostingClassifier,
    "logistic": LogisticRegression,
}
#: Scorer to column. For two classes, one class against the rest is the plain area.
METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced_accuracy",
    "roc_auc": "roc_auc",
    "roc_auc_ovr_weighted": "roc_auc",
    "neg_log_loss": "neg_log_loss",
}


def embedded_history(estimator: Any, *, metric: str = "accuracy") -> list[SearchRecord]:
    """Return the searches that come with metaest for an estimator's class.

    Each is 50 trials of Optuna's TPE in :func:`default_space` on one of 52 classification data
    sets of OpenML, of at most 1,500 rows. TPE maximised the mean accuracy of 5 stratified folds;
    the other metrics were recorded on the way. ``benchmarks/build_history.py`` made them.

    Parameters
    ----------
    estimator : estimator
        HistGradientBoostingClassifier, RandomForestClassifier, SVC or LogisticRegression, or a
        Pipeline that ends in one. Its parameters do not matter. Subclasses are not known: they
        may mean something else by a parameter.
    metric : str, default="accuracy"
        What the trials' values are: "accuracy", "balanced_accuracy", "roc_auc",
        "roc_auc_ovr_weighted" or "neg_log_loss". Both areas are of each class against the rest,
        weighted by frequency, so "roc_auc" has values for data sets of many classes, too. SVC has
        no "neg_log_loss".

    Returns
    -------
    list of SearchRecord
        With meta-features and fingerprint, to be maximised; of a Pipeline, parameters have the
        step's name and two underscores before them. Empty if there are none for the estimator or
        the metric.

    Raises
    ------
    HistoryError
        If the file is damaged or missing.

    References
    ----------
    Vanschoren et al., OpenML: networked science in machine learning, SIGKDD Explorations 2013.

    Bergstra et al., Algorithms for hyper-parameter optimization, NeurIPS 2011.

    Examples
    --------
    >>> from sklearn.svm import SVC
    >>> from metaest.tuning import embedded_history
    >>> records = embedded_history(SVC())
    >>> records[0].metric, records[0].direction, len(records[0].trials)
    ('accuracy', 'maximize', 50)
    >>> embedded_history(SVC(), metric="neg_log_loss")
    []
    """
    last, prefix = last_step(estimator)
    model = next((name for name, own in MODELS.items() if own is type(last)), None)
    if model is None or metric not in METRICS:
        return []
    return list(_records(model, metric, prefix))


def _folder() -> Traversable:
    return files("metaest.tuning") / "data"


@lru_cache(maxsize=32)
def _records(model: str, metric: str, prefix: str) -> tuple[SearchRecord, ...]:
    name = f"{model}.json"
    try:
        content = json.loads((_folder() / name).read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}, expected {FORMAT}")
        space = {
            prefix + name: json_to_distribution(json.dumps(d))
            for name, d in content["space"].items()
        }
        found = [
            _record(search, metric, prefix, space, content["meta_feature_names"])
            for search in content["searches"]
        ]
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise HistoryError(
            f"the embedded history {name} is damaged or missing ({error!r}). Install metaest "
            "again, with: pip install --force-reinstall --no-deps metaest"
        ) from error
    return tuple(record for record in found if record.complete_trials)


def _record(
    search: dict[str, Any],
    metric: str,
    prefix: str,
    space: dict[str, BaseDistribution],
    names: list[str],
) -> SearchRecord:
    columns = {prefix + name: column for name, column in search["params"].items()}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return SearchRecord(
        task=search["task"],
        space=space,
        direction="maximize",
        metric=metric,
        meta_features=dict(zip(names, map(float, search["meta_features"]), strict=True)),
        fingerprint=search["fingerprint"],
        trials=tuple(make_trials(rows, search["values"][METRICS[metric]], space, search["task"])),
        is_shipped=True,
    )
