"""cross_validate_episodes: the same episodes for all, whatever runs them."""

import sys

import numpy as np
import pytest
from joblib import parallel_config
from scipy import sparse
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import Ridge
from sklearn.metrics.pairwise import linear_kernel
from sklearn.model_selection import GridSearchCV, StratifiedShuffleSplit, cross_validate
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from metaest.exceptions import EpisodeError, InvalidParameterError, TaskError
from metaest.model_selection import EpisodicSplit, TaskSplit, cross_validate_episodes
from tests.model_selection.fakes import Fails, NearestMean

MODELS = {
    "1-nn": KNeighborsClassifier(1),
    "means": make_pipeline(StandardScaler(), NearestMean()),
    "guess": DummyClassifier(strategy="stratified", random_state=0),
}


def test_scores_are_those_of_scikit_learn(blobs, cv):
    scoring = ["accuracy", "neg_log_loss"]
    result = cross_validate_episodes(MODELS, *blobs, cv=cv, scoring=scoring)
    for name, model in MODELS.items():
        expected = cross_validate(model, *blobs, cv=cv, scoring=scoring)
        for metric in scoring:
            assert result.scores[name][metric].tolist() == expected[f"test_{metric}"].tolist()


def test_all_estimators_see_the_same_episodes_even_without_a_seed(blobs):
    model = KNeighborsClassifier(1)
    cv = EpisodicSplit(20, n_ways=3, n_queries=5)
    result = cross_validate_episodes({"a": model, "b": clone(model)}, *blobs, cv=cv)
    assert (result.scores["a"]["accuracy"] == result.scores["b"]["accuracy"]).all()
    frame = result.to_frame()
    assert (frame[frame.estimator == "a"].n_ways.to_numpy() == 3).all()


def test_the_number_of_workers_changes_nothing(blobs):
    cv = EpisodicSplit(110, n_ways=3, n_queries=5, random_state=0)
    run = {"cv": cv, "scoring": "neg_log_loss"}
    alone = cross_validate_episodes(MODELS, *blobs, **run)
    together = cross_validate_episodes(MODELS, *blobs, n_jobs=2, **run)
    with parallel_config("threading", n_jobs=2):
        threads = cross_validate_episodes(MODELS, *blobs, **run)
    for name, scores in alone.scores.items():
        for metric, values in scores.items():
            assert values.tolist() == together.scores[name][metric].tolist()
            assert values.tolist() == threads.scores[name][metric].tolist()


def test_the_estimators_given_are_not_fitted(blobs, cv):
    model = NearestMean()
    cross_validate_episodes(model, *blobs, cv=cv)
    assert not hasattr(model, "classes_")


@pytest.mark.parametrize("kind", ["frame", "sparse", "list", "images"])
def test_tables_of_any_type(blobs, cv, kind):
    X, y = blobs
    expected = cross_validate_episodes(KNeighborsClassifier(1), X, y, cv=cv).scores
    if kind == "frame":
        X = pytest.importorskip("pandas").DataFrame(X, columns=list("abcd"))
    elif kind == "sparse":
        X = sparse.csr_array(X)
    elif kind == "list":
        X, y = X.tolist(), y.tolist()
    else:
        X = X.reshape(-1, 1, 2, 2)
    model = NearestFlat() if kind == "images" else KNeighborsClassifier(1)
    scores = cross_validate_episodes({"KNeighborsClassifier": model}, X, y, cv=cv).scores
    (values,) = scores["KNeighborsClassifier"].values()
    assert values == pytest.approx(expected["KNeighborsClassifier"]["accuracy"])


class NearestFlat(KNeighborsClassifier):
    def __init__(self):
        super().__init__(1)

    def fit(self, X, y):
        return super().fit(X.reshape(len(X), -1), y)

    def predict(self, X):
        return super().predict(X.reshape(len(X), -1))

    def score(self, X, y):
        return float(np.mean(self.predict(X) == y))


def test_precomputed_kernels_are_cut_on_both_sides(blobs, cv):
    X, y = blobs
    plain = cross_validate_episodes(SVC(kernel="linear"), X, y, cv=cv)
    kernel = cross_validate_episodes(SVC(kernel="precomputed"), linear_kernel(X), y, cv=cv)
    assert plain.scores["SVC"]["accuracy"] == pytest.approx(kernel.scores["SVC"]["accuracy"])


def test_other_splitters_and_plain_pairs(blobs):
    X, y = blobs
    splitter = StratifiedShuffleSplit(4, random_state=0)
    model = KNeighborsClassifier(1)
    by_splitter = cross_validate_episodes(model, X, y, cv=splitter)
    by_pairs = cross_validate_episodes(model, X, y, cv=splitter.split(X, y))
    expected = cross_validate(model, X, y, cv=splitter)["test_score"].tolist()
    assert by_splitter.scores["KNeighborsClassifier"]["accuracy"].tolist() == expected
    assert by_pairs.scores["KNeighborsClassifier"]["accuracy"].tolist() == expected


@pytest.mark.parametrize(
    ("model", "scoring", "name"),
    [
        (GaussianNB(), None, "accuracy"),
        (make_pipeline(StandardScaler(), GaussianNB()), None, "accuracy"),
        (
            GridSearchCV(GaussianNB(), {"var_smoothing": [0.1]}, scoring="f1_macro", cv=2),
            None,
            "score",
        ),
        (NearestFlat(), None, "score"),
        (GaussianNB(), "f1_macro", "f1_macro"),
        (GaussianNB(), lambda e, X, y: 1.0, "score"),
        (GaussianNB(), lambda e, X, y: {"half": 0.5}, "half"),
        ({"a": GaussianNB(), "b": NearestFlat()}, None, "score"),
    ],
    ids=["classifier", "pipeline", "search", "own", "str", "callable", "dict", "mixed"],
)
def test_the_metric_has_a_true_name(blobs, model, scoring, name):
    cv = EpisodicSplit(2, n_ways=3, n_shots=2, n_queries=5, random_state=0)
    assert cross_validate_episodes(model, *blobs, cv=cv, scoring=scoring).metrics == [name]


def test_regression_names_r2_and_draws_rows_by_default(blobs):
    X = blobs[0]
    y = X @ [1.0, 2.0, 0.0, 0.5]
    result = cross_validate_episodes(Ridge(), X, y, cv=EpisodicSplit(5, n_shots=20, random_state=0))
    assert result.metrics == ["r2"]
    assert result.to_frame().columns.tolist()[:4] == [
        "estimator",
        "episode",
        "n_shots",
        "n_queries",
    ]
    whole = np.round(10 * y)
    result = cross_validate_episodes(NoFit(), X, whole)
    assert len(result) == 600
    assert result.to_frame().n_queries.unique().tolist() == [15]


class NoFit(RegressorMixin, BaseEstimator):
    def fit(self, X, y):
        return self

    def score(self, X, y):
        return 0.0


def test_groups_come_back_with_their_episodes(blobs):
    X, y = blobs
    groups = np.where(y < 4, "low", "high")
    cv = EpisodicSplit(30, n_ways=3, n_queries=5, random_state=0)
    result = cross_validate_episodes(GaussianNB(), X, y, groups=groups, cv=cv)
    frame = result.to_frame()
    for (support, query), group in zip(result.episodes, frame.group, strict=True):
        assert set(groups[support]) | set(groups[query]) == {group}
    pairs = np.empty(len(y), dtype=object)
    pairs[:] = [(group, 1) for group in groups.tolist()]
    again = cross_validate_episodes(GaussianNB(), X, y, groups=pairs, cv=cv).to_frame()
    assert again.group.tolist() == [(group, 1) for group in frame.group]


def test_query_rows_that_were_learned_from(blobs):
    X, y = blobs
    cv = [(np.arange(0, 160, 2), np.arange(1, 160, 2)), (np.arange(50), np.arange(40, 90))]
    with pytest.warns(UserWarning, match=r"1 of 2 episodes .* \(first episode 1\)"):
        cross_validate_episodes(GaussianNB(), X, y, cv=cv)


def test_failed_episodes_are_counted_and_left_out(blobs, cv):
    X, y = blobs
    failed = np.array([0 in y[support] for support, _ in cv.split(X, y)])
    with pytest.warns(match=rf"(?s){failed.sum()} of 60 episodes of 'Fails' failed.*no class 0"):
        result = cross_validate_episodes(Fails(), X, y, cv=cv, error_score=np.nan)
    assert (np.isnan(result.scores["Fails"]["accuracy"]) == failed).all()
    assert result.summary()[0].n_episodes == (~failed).sum()
    with pytest.warns(match="They score 0"):
        result = cross_validate_episodes(Fails(), X, y, cv=cv, error_score=0)
    assert (result.scores["Fails"]["accuracy"][failed] == 0).all()


def test_one_that_fails_everywhere_costs_the_others_nothing(blobs, cv):
    X, y = blobs
    models = {"good": GaussianNB(), "bad": Fails(always=True)}
    with pytest.warns(match="(?s)60 of 60 episodes of 'bad' failed.*They score nan"):
        result = cross_validate_episodes(models, X, y, cv=cv, error_score=np.nan)
    alone = cross_validate_episodes(GaussianNB(), X, y, cv=cv)
    np.testing.assert_array_equal(
        result.scores["good"]["accuracy"], alone.scores["GaussianNB"]["accuracy"]
    )
    assert np.isnan(result.scores["bad"]["accuracy"]).all()


def test_fewer_episodes_are_told_in_the_table(blobs, cv):
    X, y = blobs
    models = {"good": GaussianNB(), "some": Fails()}
    with pytest.warns(match="of 60 episodes of 'some' failed"):
        result = cross_validate_episodes(models, X, y, cv=cv, error_score=np.nan)
    n = result.summary()[1].n_episodes
    good, some = repr(result.summary()).splitlines()[-2:]
    assert 0 < n < 60
    assert good.endswith(" %")
    assert some.endswith(f" % ({n})")


def test_an_error_says_which_estimator_and_episode(blobs, cv):
    X, y = blobs
    first = next(i for i, (support, _) in enumerate(cv.split(X, y)) if 0 in y[support])
    with pytest.raises(RuntimeError, match="no class 0") as caught:
        cross_validate_episodes({"good": GaussianNB(), "bad": Fails()}, X, y, cv=cv)
    assert caught.value.__notes__ == [f"This was episode {first} of estimator 'bad'."]


BAD = [
    ({"y": None}, TaskError, "needs y"),
    ({"y": np.arange(3)}, TaskError, "differ in length: 160 rows, 3 targets"),
    ({"groups": [1, 2]}, TaskError, "one entry per row: expected 160, got 2"),
    ({"cv": 5}, InvalidParameterError, r"cv must be a splitter.*EpisodicSplit\(n_episodes"),
    ({"cv": "5"}, InvalidParameterError, "cv must be a splitter.*got '5'"),
    ({"cv": EpisodicSplit}, InvalidParameterError, "cv must be a splitter.*got <class"),
    ({"cv": {"a": 1}}, InvalidParameterError, "cv must be a splitter.*got {'a': 1}"),
    ({"cv": TaskSplit(2)}, InvalidParameterError, r"no support row has.*cv=EpisodicSplit\("),
    ({"cv": []}, EpisodeError, "no episodes"),
    ({"cv": [([0, 20], [999])]}, EpisodeError, "episode 0 must be a pair.*999 is out of bounds"),
    ({"cv": [([0.5, 20], [1])]}, EpisodeError, "episode 0 must be a pair.*integer"),
    ({"cv": [([0, 20], [1]), ([0, 20],)]}, EpisodeError, "episode 1 must be a pair"),
    ({"cv": [([], [1])]}, EpisodeError, "episode 0 has no support rows"),
    ({"cv": [([0, 20], [])]}, EpisodeError, "episode 0 has no query rows"),
    ({"cv": EpisodicSplit(n_ways=9)}, EpisodeError, "n_ways=8 or less"),
    ({"estimator": {}}, InvalidParameterError, "empty dict"),
    ({"estimator": GaussianNB}, InvalidParameterError, "must be an instance with a fit method"),
    ({"estimator": {"a": 3}}, InvalidParameterError, "got 3 for 'a'"),
    ({"estimator": Ridge()}, EpisodeError, r"regressors.*kind='regression'"),
    ({"estimator": Fails(always=True), "error_score": 0}, EpisodeError, "60 of 60 episodes"),
    ({"confidence": 95}, InvalidParameterError, r"confidence must be a float in \(0, 1\), got 95"),
    ({"error_score": "nan"}, InvalidParameterError, "error_score must be 'raise' or a number"),
    ({"scoring": []}, InvalidParameterError, "scoring must be a scorer's name.*got \\[\\]"),
    ({"scoring": 3}, InvalidParameterError, "scoring must be a scorer's name.*got 3"),
    ({"scoring": {"a": 3}}, InvalidParameterError, "scoring must be a scorer's name.*got {'a': 3}"),
    ({"scoring": "acuracy"}, InvalidParameterError, "Did you mean 'accuracy'"),
    ({"scoring": lambda e, X, y: "high"}, InvalidParameterError, "must give a number, got str"),
    ({"scoring": lambda e, X, y: [1, 2]}, InvalidParameterError, "must give a number, got list"),
    ({"scoring": {"a": "acuracy"}}, InvalidParameterError, "Did you mean 'accuracy'"),
    ({"scoring": ["accuracy", "f1_macr"]}, InvalidParameterError, "Did you mean 'f1_macro'"),
    ({"scoring": {"n_shots": "accuracy"}}, InvalidParameterError, "named 'n_shots', .*Rename it"),
    ({"scoring": lambda e, X, y: {str(min(y)): 1}}, InvalidParameterError, "same scores of all ep"),
    ({"X": None}, TaskError, "the table is None; pass its rows"),
    ({"estimator": {1: GaussianNB(), "1": GaussianNB()}}, InvalidParameterError, "read alike: "),
    (
        {"estimator": {"a": GaussianNB(), "b": Ridge()}},
        InvalidParameterError,
        "accuracy of classifiers and R2 of regressors.*Pass one score",
    ),
]


@pytest.mark.parametrize(
    ("change", "error", "message"), BAD, ids=[f"bad{i}" for i in range(len(BAD))]
)
def test_bad_input_is_one_clear_error(blobs, cv, change, error, message):
    X, y = blobs
    arguments = {"estimator": GaussianNB(), "X": X, "y": y, "cv": cv} | change
    with pytest.raises(error, match=message):
        cross_validate_episodes(**arguments)


def test_results_need_pandas_and_matplotlib_only_when_asked(blobs, cv, monkeypatch):
    result = cross_validate_episodes(GaussianNB(), *blobs, cv=cv)
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "accuracy" in repr(result)
    assert "accuracy" in repr(result.summary())
    with pytest.raises(ImportError, match=r"to_frame needs the package 'pandas'.*metaest\[frame\]"):
        result.to_frame()
    with pytest.raises(ImportError, match=r"'pandas'.*metaest\[frame\]"):
        result.summary().to_frame()
    with pytest.raises(ImportError, match=r"plot needs the package 'matplotlib'.*metaest\[plot\]"):
        result.plot()


def test_masks_are_as_good_as_positions(blobs):
    X, y = blobs
    support, query = np.arange(160) % 2 == 0, np.arange(160) % 2 == 1
    masks = cross_validate_episodes(GaussianNB(), X, y, cv=[(support, query)])
    rows = [(np.flatnonzero(support), np.flatnonzero(query))]
    positions = cross_validate_episodes(GaussianNB(), X, y, cv=rows)
    assert repr(masks) == repr(positions)
    assert masks.to_frame()["n_shots"].tolist() == positions.to_frame()["n_shots"].tolist() == [10]
