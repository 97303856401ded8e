"""Claim: MetaFewShotRegressor() predicts numbers of a small table as well as what is to hand.

    METAEST_DATA=... python benchmarks/tabular_regression.py [--half report] [--sizes 20 50 100 200]

The targets are numeric columns of the 52 OpenML data sets, at most three of each with 20 distinct
values or more; the other columns are the features. Choices were made on the data sets at even
positions of the sorted data ids and on scikit-learn's diabetes data (--half choice); those at odd
positions are for the report. Each seed draws a training set of the size asked for and at most 150
other rows to test on. The error is the root mean squared one divided by the standard deviation of
the test targets, a mean over targets and seeds, then over data sets; coverage is the share of test
targets within 1.645 predicted standard deviations (of a normal distribution 90 %).
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator

import numpy as np
import pandas as pd
from _common import cpu_time, describe_machine, markdown_row, prepare
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes
from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from tabular_small import _numbers, _others, _trees, load_half

from metaest import MetaFewShotRegressor
from metaest.learners import InContextTransformer

SIZES = (20, 50, 100, 200)
LEAST_DISTINCT, MOST_TARGETS, MOST_TEST_ROWS = 20, 3, 150
#: Errors above are as large as this: one far extrapolation decides no mean.
MOST_ERROR = 3.0


def ridge():
    numeric = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler())
    other = make_pipeline(
        SimpleImputer(strategy="most_frequent", keep_empty_features=True),
        OneHotEncoder(handle_unknown="ignore"),
    )
    columns = make_column_transformer((numeric, _numbers()), (other, _others()))
    return make_pipeline(columns, RidgeCV(np.logspace(-3, 4, 15)))


def _metaest(companions: float):
    return lambda: MetaFewShotRegressor(InContextTransformer(companions=companions))


MODELS = {
    "Ridge": ridge,
    "RandomForest": lambda: _trees(RandomForestRegressor(random_state=0)),
    "ExtraTrees": lambda: _trees(ExtraTreesRegressor(random_state=0)),
    "metaest, network alone": _metaest(0.0),
    "metaest, companions alone": _metaest(1.0),
    "metaest": MetaFewShotRegressor,
}
#: Means of the predictions of models.
BLENDS = {"Ridge + ExtraTrees": ("Ridge", "ExtraTrees")}


def targets(half: str) -> Iterator[tuple[str, pd.DataFrame, np.ndarray]]:
    """Yield (name of the data set, X, y)."""
    if half == "choice":
        yield "diabetes (scikit-learn)", *load_diabetes(return_X_y=True, as_frame=True)
    for name, frame, _ in load_half(half):
        columns = frame.select_dtypes("number").columns
        columns = [c for c in columns if frame[c].nunique() >= LEAST_DISTINCT]
        places = np.linspace(0, len(columns) - 1, MOST_TARGETS).round().astype(int)
        for column in [columns[i] for i in np.unique(places)] if columns else []:
            rows = frame[frame[column].notna()]
            yield name, rows.drop(columns=column), rows[column].to_numpy(dtype=float)


def measure(X: pd.DataFrame, y: np.ndarray, size: int, seed: int) -> dict[str, dict[str, float]]:
    """Fit every model to one training set and score it on other rows."""
    order = np.random.default_rng([seed, size, len(y)]).permutation(len(y))
    train, test = order[:size], order[size : size + MOST_TEST_ROWS]
    if np.ptp(y[train]) == 0 or np.ptp(y[test]) == 0:
        return {}
    found, rows = {}, {}
    for name, make in MODELS.items():
        with warnings.catch_warnings(), cpu_time() as timer:
            warnings.simplefilter("ignore")
            model = make().fit(X.iloc[train], y[train])
            found[name] = model.predict(X.iloc[test])
            rows[name] = {"seconds": 60 * timer.minutes}
            if isinstance(model, MetaFewShotRegressor):
                mean, std = model.predict(X.iloc[test], return_std=True)
                rows[name]["coverage"] = float(np.mean(np.abs(mean - y[test]) < 1.645 * std))
    for name, parts in BLENDS.items():
        found[name], rows[name] = np.mean([found[part] for part in parts], axis=0), {}
    for name, predicted in found.items():
        error = np.sqrt(np.mean((predicted - y[test]) ** 2)) / y[test].std()
        rows[name]["error"] = min(float(error), MOST_ERROR)
    return rows


def report(table: pd.DataFrame) -> None:
    print(f"{table['data'].nunique()} data sets, {table['target'].nunique()} targets\n")
    for metric in ("error", "coverage", "seconds"):
        by_data = table.groupby(["model", "size", "data"])[metric].mean()
        means = by_data.groupby(["model", "size"]).mean().unstack("size")
        print(markdown_row(metric, *means.columns))
        print(markdown_row(*["---"] * (1 + means.shape[1])))
        for model in (*MODELS, *BLENDS):
            if means.loc[model].notna().any():
                print(markdown_row(model, *(f"{value:.3f}" for value in means.loc[model])))
        print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--half", choices=["choice", "report"], default="report")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    prepare()
    print(describe_machine())
    rows = []
    for number, (name, X, y) in enumerate(targets(options.half)):
        for size in (size for size in options.sizes if size <= len(y) // 2):
            for seed in range(options.seeds):
                where = {"data": name, "target": number, "size": size}
                scores = measure(X, y, size, seed)
                rows += [where | {"model": model} | values for model, values in scores.items()]
    report(pd.DataFrame(rows))


if __name__ == "__main__":
    main()
