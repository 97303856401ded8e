"""What columns of a table hold, at fit and at predict: categories, gaps, numbers as text."""

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from metaest import MetaFewShotClassifier, MetaFewShotRegressor
from metaest._table_codes import TableCodes, has_categories
from metaest.exceptions import TaskError
from metaest.inspection import EmbeddingDisplay
from metaest.meta_features import MetaFeatures, fingerprint
from metaest.model_selection import EpisodicSplit, cross_validate_episodes
from metaest.tasks import Task


def _shops(n: int = 120) -> tuple[pd.DataFrame, np.ndarray]:
    """Draw a task where only the name of a shop counts, and the name is a number."""
    rng = np.random.default_rng(0)
    shop = rng.integers(0, 9, n)
    frame = pd.DataFrame({"shop": shop, "noise": rng.normal(size=n)})
    return frame, np.array([0, 1, 1, 0, 1, 0, 0, 1, 0])[shop]


def _noted() -> tuple[pd.DataFrame, np.ndarray]:
    """Draw a table with a column that has no value in its first ten rows."""
    y = np.tile([0, 1], 20)
    a = y + 0.3 * np.random.default_rng(0).normal(size=40)
    return pd.DataFrame({"a": a, "note": [None] * 10 + ["x", "y"] * 15}), y


def _labels_of(X: pd.DataFrame) -> np.ndarray:
    return np.arange(len(X)) % 2


# ------------------------------------------------------------------------------- pandas categories


def test_a_category_of_integers_is_one_of_their_names() -> None:
    X, y = _shops()
    named = X.astype({"shop": "category"})  # no text beside it: all columns look like numbers
    clf = MetaFewShotClassifier().fit(named[:60], y[:60])
    assert clf.categories_[0].tolist() == [*"012345678"]
    assert clf.categories_[1] is None
    assert clf.score(named[60:], y[60:]) > 0.95
    expected = clf.predict_proba(named[60:])
    texts = X.astype({"shop": str})
    found = MetaFewShotClassifier().fit(texts[:60], y[:60]).predict_proba(texts[60:])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", [int, float, str, object, "Int64", "category"])
def test_a_category_of_integers_may_come_in_another_type(kind) -> None:
    X, y = _shops()
    clf = MetaFewShotClassifier().fit(X[:60].astype({"shop": "category"}), y[:60])
    expected = clf.predict_proba(X[60:].astype({"shop": "category"}))
    np.testing.assert_array_equal(clf.predict_proba(X[60:].astype({"shop": kind})), expected)


def test_categories_of_integers_with_gaps_and_levels_that_do_not_occur() -> None:
    shops = pd.Categorical([1, None, 2, 1, 2, None], categories=[2, 1, 7], ordered=True)
    X = pd.DataFrame({"shop": shops})
    clf = MetaFewShotClassifier().fit(X, _labels_of(X))
    assert clf.categories_[0].tolist() == ["2", "1"]  # those in fit: 7 is as unseen as 8
    task = Task(X, _labels_of(X))
    assert task.categories[0].tolist() == ["2", "1"]
    np.testing.assert_array_equal(task.X[:, 0], [1, np.nan, 0, 1, 0, np.nan])


def test_statistical_features_count_a_category_of_integers_as_one_of_text() -> None:
    X, y = _shops()
    number, named, text = (X.astype({"shop": kind}) for kind in (int, "category", str))
    found = (
        MetaFeatures(scale=False).fit([(X, y)]).transform([(x, y) for x in (number, named, text)])
    )
    np.testing.assert_array_equal(found[1], found[2])
    assert not np.array_equal(found[0], found[1])
    assert fingerprint(named, y) == fingerprint(text, y) != fingerprint(number, y)


def test_a_category_of_dates_comes_back_as_dates() -> None:
    days = pd.to_datetime(["2020-01-01", "2020-01-02"] * 5)
    X = pd.DataFrame({"day": days.astype("category")})
    clf = MetaFewShotClassifier().fit(X, _labels_of(X))
    expected = clf.predict_proba(X)
    np.testing.assert_array_equal(clf.predict_proba(pd.DataFrame({"day": days})), expected)


# ------------------------------------------------------------------------------- columns of gaps


@pytest.mark.parametrize("dtype", [object, "string", "category", float])
def test_a_column_without_a_value_in_fit_stays_missing(dtype, tmp_path) -> None:
    X, y = _noted()
    clf = MetaFewShotClassifier().fit(X[:10].astype({"note": dtype}), y[:10])
    assert clf.categories_[1].tolist() == []
    expected = clf.predict_proba(X[10:].assign(note=None))
    assert (expected.argmax(1) == y[10:]).mean() > 0.8
    for other in (X[10:], X[10:].assign(note=3.5), X[10:].astype({"note": "category"})):
        np.testing.assert_array_equal(clf.predict_proba(other), expected)
    clf.save(tmp_path / "clf")
    loaded = MetaFewShotClassifier.load(tmp_path / "clf")
    assert loaded.categories_[1].dtype.kind == "U"
    np.testing.assert_array_equal(loaded.predict_proba(X[10:]), expected)


def test_a_rare_text_in_cross_validation() -> None:
    X, y = _noted()
    X["note"] = [None] * 30 + ["x"] * 10
    scores = cross_val_score(MetaFewShotClassifier(), X, y, cv=KFold(4), error_score="raise")
    assert np.isfinite(scores).all()


def test_a_column_of_gaps_alone_makes_no_table_of_categories() -> None:
    X, y = _noted()
    assert Task(X[:10], y[:10]).categories is None


# ------------------------------------------------------------------------------- gaps at predict


@pytest.mark.parametrize("gap", [None, np.nan, pd.NA], ids=["None", "nan", "NA"])
@pytest.mark.parametrize("kind", ["frame", "array", "list"])
def test_every_gap_of_objects_is_missing_where_fit_had_numbers(gap, kind) -> None:
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 2)), columns=["a", "b"])
    clf = MetaFewShotClassifier().fit(X if kind == "frame" else X.to_numpy(), _labels_of(X))
    holes = X.to_numpy().copy()
    holes[3, 1] = np.nan
    expected = clf.predict_proba(
        pd.DataFrame(holes, columns=["a", "b"]) if kind == "frame" else holes
    )
    objects = X.astype(object)
    objects.iloc[3, 1] = gap
    same = {"frame": objects, "array": objects.to_numpy(), "list": objects.to_numpy().tolist()}
    np.testing.assert_array_equal(clf.predict_proba(same[kind]), expected)


def test_truth_values_with_a_gap_are_the_numbers_of_fit() -> None:
    X = pd.DataFrame({"a": np.arange(10.0), "b": [True, False] * 5})
    clf = MetaFewShotClassifier().fit(X, _labels_of(X))
    expected = clf.predict_proba(pd.DataFrame({"a": [1.0, 2.0], "b": [1.0, np.nan]}))
    found = clf.predict_proba(pd.DataFrame({"a": [1.0, 2.0], "b": [True, None]}))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", ["datetime64[us, UTC]", object])
def test_an_instant_is_one_in_every_time_zone(kind) -> None:
    hours = pd.Series(pd.date_range("2024-03-01", periods=6, freq="h", tz="UTC")).astype(kind)
    codes = TableCodes.learn(hours.to_frame("when"))
    expected = codes.encode(hours.to_frame("when"))
    elsewhere = pd.to_datetime(hours).dt.tz_convert("Australia/Sydney").astype(object)
    np.testing.assert_array_equal(codes.encode(elsewhere.to_frame("when")), expected)
    plain = pd.to_datetime(hours).dt.tz_localize(None)  # without a zone: UTC
    np.testing.assert_array_equal(codes.encode(plain.to_frame("when")), expected)


@pytest.mark.parametrize("kind", ["period", "timedelta"])
def test_periods_and_spans_of_time_are_numbers(kind) -> None:
    if kind == "period":
        months = pd.Series(pd.period_range("2020-01", periods=40, freq="M"))
    else:
        months = pd.Series([datetime.timedelta(days=i) for i in range(40)], dtype=object)
    y = np.repeat(["early", "late"], 20)
    first, later = months[:36], months[36:]
    clf = MetaFewShotClassifier(random_state=0).fit(pd.DataFrame({"when": first}), y[:36])
    assert not hasattr(clf, "categories_") or clf.categories_[0] is None
    assert (clf.predict(pd.DataFrame({"when": later})) == "late").all()


@pytest.mark.parametrize("is_saved", [False, True])
@pytest.mark.parametrize("kind", ["datetime64[us]", "timedelta64[us]", object])
def test_dates_are_no_numbers(kind, is_saved, tmp_path) -> None:
    days = pd.date_range("2024-03-01", periods=8)
    held = "spans of time" if kind == "timedelta64[us]" else "dates"
    days = days - days[0] if held == "spans of time" else days
    table = pd.DataFrame({"when": pd.Series(days, dtype=kind), "size": np.arange(8.0)})
    clf = MetaFewShotClassifier().fit(table, [0, 1] * 4)
    if is_saved:
        clf.save(tmp_path / "clf")
        clf = MetaFewShotClassifier.load(tmp_path / "clf")
    assert np.isfinite(clf.predict_proba(table.assign(when=np.nan))).all()  # a gap is neither
    with pytest.raises(TaskError, match=f"'when' held {held} in fit and has numbers now"):
        clf.predict(table.assign(when=np.arange(8)))
    with pytest.raises(TaskError, match=f"'size' held numbers in fit and has {held} now"):
        clf.predict(table.assign(size=table["when"]))


@pytest.mark.parametrize("is_object", [False, True])
@pytest.mark.parametrize(
    ("held", "now", "remedy"),
    [("dates", "spans of time", "to_datetime"), ("spans of time", "dates", "to_timedelta")],
)
def test_dates_are_no_spans_of_time(held: str, now: str, remedy: str, is_object: bool) -> None:
    days = pd.Series(pd.date_range("2024-03-01", periods=8))
    columns = {"dates": days, "spans of time": days - days[0]}
    if is_object:
        columns = {name: column.astype(object) for name, column in columns.items()}
    clf = MetaFewShotClassifier().fit(pd.DataFrame({"when": columns[held]}), [0, 1] * 4)
    said = f"column 'when' held {held} in fit and has {{}} now.*{{}}"
    crossed = {"dates": "Subtract the date that", "spans of time": "Add the date that they are"}
    with pytest.raises(TaskError, match=said.format(now, crossed[now])):
        clf.predict(pd.DataFrame({"when": columns[now]}))
    with pytest.raises(TaskError, match=said.format("'[^']+'", remedy)):
        clf.predict(pd.DataFrame({"when": columns[held].astype(str)}))


def test_files_of_older_versions_know_no_spans_of_time() -> None:
    codes = TableCodes.of([None], [True])
    days = pd.Series(pd.date_range("2024-03-01", periods=8))
    for column in (days, days - days[0]):
        assert np.isfinite(codes.encode(pd.DataFrame({"when": column}))).all()
    with pytest.raises(TaskError, match="held dates in fit and has numbers now"):
        codes.encode(pd.DataFrame({"when": [1.0]}))


def test_text_and_dates_are_refused_where_fit_had_numbers() -> None:
    X = pd.DataFrame({"a": np.arange(10.0)})
    clf = MetaFewShotClassifier().fit(X, _labels_of(X))
    with pytest.raises(TaskError, match="column 'a' held numbers in fit and has 'old' now"):
        clf.predict(X.astype({"a": object}).replace(1.0, "old"))
    with pytest.raises(TaskError, match="column 'a' held numbers in fit and has dates now"):
        clf.predict(pd.DataFrame({"a": pd.to_datetime(X["a"], unit="D")}))


def test_features_of_rows_with_gaps_have_the_medians_of_fit(tmp_path) -> None:
    X = np.random.default_rng(0).normal(size=(15, 3))
    X[0, 0] = X[5, 1] = np.nan
    X[:, 2] = np.nan
    clf = MetaFewShotClassifier().fit(X, np.arange(15) % 2)
    found = clf.embed(X)
    expected = np.where(np.isnan(X), [*np.nanmedian(X[:, :2], axis=0), 0.0], X)
    np.testing.assert_array_equal(found, expected)
    clf.save(tmp_path / "clf")
    np.testing.assert_array_equal(MetaFewShotClassifier.load(tmp_path / "clf").embed(X), found)


def test_features_with_gaps_before_fit_and_in_a_picture() -> None:
    X = np.random.default_rng(0).normal(size=(24, 3))
    y = np.arange(24) % 2
    tasks = [(X[:12], y[:12]), (X[12:], y[12:])]
    clf = MetaFewShotClassifier("in_context", n_ways=2, n_shots=2, n_queries=2, n_episodes=2)
    holes = np.where(X > 1, np.nan, X)
    np.testing.assert_array_equal(clf.fit_meta(tasks).embed(holes), np.nan_to_num(holes))
    pytest.importorskip("matplotlib")
    EmbeddingDisplay.from_estimator(MetaFewShotClassifier(), holes[:12], y[:12], holes[12:], y[12:])


# ------------------------------------------------------------------------ categories by their names


@pytest.mark.parametrize(
    ("seen", "later"),
    [
        ([True, False], [1, 0]),
        ([True, False], [1.0, 0.0]),
        ([True, False], ["True", "False"]),
        (["1", "0"], [True, False]),
        (["10", "20"], [10.0, 20.0]),
        (["10", "20"], [10, 20]),
        (["1.0", "2.0"], [1.0, 2.0]),
        ([10.0, "few"], ["10", "few"]),
        ([Decimal("10.00"), "few"], [10, "few"]),
    ],
    ids=str,
)
def test_categories_match_whatever_the_type_of_their_column(seen: list, later: list) -> None:
    first = pd.DataFrame({"of": seen * 5, "word": ["a"] * 10})  # text, so that bools are no numbers
    then = pd.DataFrame({"of": [*later, None, later[1]], "word": ["a"] * 4})
    clf = MetaFewShotClassifier().fit(first, _labels_of(first))
    expected = clf.predict_proba(
        pd.DataFrame({"of": pd.Series([*seen, None, seen[1]], dtype=object), "word": ["a"] * 4})
    )
    np.testing.assert_array_equal(clf.predict_proba(then), expected)
    assert expected[0, 0] > 0.6 > 0.4 > expected[1, 0]


def test_a_column_of_unseen_categories_only_is_told_once(recwarn) -> None:
    X = pd.DataFrame({"city": ["x", "y"] * 5, "job": ["a", "b"] * 5})
    clf = MetaFewShotClassifier().fit(X, _labels_of(X))
    clf.predict(X.assign(city=["new"] * 9 + ["x"], job=None))  # some are known; gaps only
    assert not recwarn
    message = "column 'city' has none of the categories that it had in fit, such as 'x': it has 'X'"
    with pytest.warns(UserWarning, match=message) as told:
        clf.predict(X.assign(city=["X", None] * 5))
    assert len(told) == 1
    assert told[0].filename == __file__


# ------------------------------------------------------------------------------- numbers as objects


def test_decimals_are_numbers() -> None:
    X = pd.DataFrame({"price": np.arange(30) / 8})
    y = np.arange(30) // 15
    exact = pd.DataFrame({"price": [Decimal(str(v)) for v in X["price"]]})
    clf = MetaFewShotClassifier().fit(exact, y)
    assert clf.categories_ == [None]
    expected = MetaFewShotClassifier().fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(clf.predict_proba(exact), expected)
    exact.iloc[2, 0] = Decimal("NaN")
    assert np.isnan(Task(exact, y).X[2, 0])


PRICES = [f" {v / 4} " for v in range(20)]


@pytest.mark.parametrize(
    ("prices", "message"),
    [
        (PRICES, r"column 'price' .*such as ' 0\.0 ' and .*to_numeric\(X\['price'\], errors='co"),
        ([*PRICES[:-1], "?"], r"column 'price' holds text.*, all but '\?', and .*pandas category"),
    ],
)
def test_text_of_many_numbers_is_told(prices: list[str], message: str) -> None:
    X = pd.DataFrame({"price": prices, "word": ["a", "b"] * 10})
    with pytest.warns(UserWarning, match=message) as told:
        clf = MetaFewShotClassifier().fit(X, _labels_of(X))
    assert len(told) == 1
    assert told[0].filename == __file__
    assert clf.categories_[0].tolist() == sorted(prices)
    with pytest.warns(UserWarning, match=r"column 0 .*to_numeric\(X\[:, 0\]"):
        MetaFewShotClassifier().fit(X.to_numpy(), _labels_of(X))


@pytest.mark.parametrize("cls", [MetaFewShotClassifier, MetaFewShotRegressor])
def test_the_users_line_is_named_whatever_lies_between(cls) -> None:
    X, y = pd.DataFrame({"price": PRICES}), np.arange(20.0) // 10
    with pytest.warns(UserWarning, match="column 'price' holds text that reads as numbers") as told:
        model = make_pipeline(FunctionTransformer(), cls()).fit(X, y)
    assert [warning.filename for warning in told] == [__file__]
    with pytest.warns(UserWarning, match="has none of the categories") as told:
        model.predict(X.assign(price="new"))
    assert [warning.filename for warning in told] == [__file__]


@pytest.mark.parametrize(
    "prices",
    [
        pd.Categorical(PRICES),
        [f"{v % 10}" for v in range(20)],  # few: ratings, codes
        [*PRICES[:17], "a", "b", "c"],
        ["inf", "nan", *(f"{v}a" for v in range(18))],
    ],
)
def test_other_text_is_not(prices) -> None:
    X = pd.DataFrame({"price": prices})
    clf = MetaFewShotClassifier().fit(X, _labels_of(X))  # no warning, which would be an error
    assert clf.categories_[0] is not None


# ------------------------------------------------------------------------------------------- labels


@pytest.mark.parametrize("labels", [[3, 7], [True, False], [1.0, 2.0], [np.int64(3), 7]], ids=str)
def test_labels_of_objects_have_their_own_type(labels: list) -> None:
    X = np.random.default_rng(0).normal(size=(10, 2))
    plain = np.array(labels * 5)
    clf = MetaFewShotClassifier().fit(X, np.array(labels * 5, dtype=object))
    assert clf.classes_.dtype == plain.dtype
    expected = MetaFewShotClassifier().fit(X, plain).predict(X)
    for y in (labels * 5, pd.Series(labels * 5, dtype=object)):
        np.testing.assert_array_equal(clf.fit(X, y).predict(X), expected)


@pytest.mark.parametrize("fast", [True, False])
def test_labels_of_objects_are_scored_as_by_their_own_type(fast: bool) -> None:
    X = np.random.default_rng(0).normal(size=(40, 2))
    y = pd.Series(X[:, 0] > 0, dtype=object)
    clf = MetaFewShotClassifier("protonet", random_state=0).fit(X, y)
    assert clf.score(X, y) == clf.score(X, y.astype(bool))
    assert clf.score(X, y, sample_weight=X[:, 0] > 0) == clf.score(X[X[:, 0] > 0], y[y])
    cv = EpisodicSplit(4, n_ways=2, n_shots=3, n_queries=3, random_state=0)
    options = {"scoring": None, "cv": cv, "fast": fast}
    for model in (clf, LogisticRegression()):
        found = cross_validate_episodes(model, X, y, **options)
        assert found.metrics == ["accuracy"]
        expected = cross_validate_episodes(model, X, y.astype(bool), **options)
        assert repr(found) == repr(expected)


def test_labels_of_several_types_are_refused() -> None:
    with pytest.raises(ValueError, match="Unknown label type"):
        MetaFewShotClassifier().fit(np.eye(4), np.array([1, True, 2.5, 0], dtype=object))


def test_one_row_of_each_class_is_no_regression() -> None:
    X = np.random.default_rng(0).normal(size=(25, 4))
    clf = MetaFewShotClassifier("protonet").fit(
        X, np.arange(25)
    )  # no warning, which would be an error
    assert len(clf.classes_) == 25


def test_ordered_categories_keep_their_order() -> None:
    sizes = ["low", "mid", "high", "top"]
    ordered = pd.Categorical(["mid", "top", None, "high"] * 5, categories=sizes, ordered=True)
    X = pd.DataFrame({"size": ordered, "name": pd.Categorical(["b", "c", "a", "a"] * 5)})
    clf = MetaFewShotClassifier().fit(X, ["small", "large", "large", "small"] * 5)
    assert [list(levels) for levels in clf.categories_] == [sizes[1:], ["a", "b", "c"]]
    codes = TableCodes.learn(X).encode(X.iloc[:4])
    np.testing.assert_array_equal(codes, [[0, 1], [2, 2], [np.nan, 0], [1, 0]])


def test_intervals_are_in_the_order_of_numbers() -> None:
    X = pd.DataFrame({"age": pd.cut([5, 15, 95, 105] * 5, [0, 10, 20, 100, 110])})
    np.testing.assert_array_equal(TableCodes.learn(X).encode(X)[:4, 0], [0, 1, 2, 3])


def test_torch_tensors_are_tables() -> None:
    X = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    y = (X[:, 0] > 0).long()
    expected = MetaFewShotClassifier().fit(X.numpy(), y.numpy()).predict_proba(X.numpy())
    np.testing.assert_array_equal(MetaFewShotClassifier().fit(X, y).predict_proba(X), expected)
    learned = MetaFewShotClassifier("protonet", n_shots=1, n_queries=2, n_episodes=2)
    assert len(learned.fit_meta([(X, y)] * 3).fit(X, y).predict(X)) == 20


# -------------------------------------------------------------------------- cells of several types


@pytest.mark.parametrize("truth", [True, np.True_])
def test_truth_values_among_text_are_categories_whatever_comes_first(truth) -> None:
    cells = pd.Series([1, truth, "no", None, 0.0, False, "no"], dtype=object)
    for order in (cells, cells[::-1]):
        codes = TableCodes.learn(order.to_frame("a"))
        assert codes.levels == (("0", "1", "False", "True", "no"),)
        found = codes.encode(cells.to_frame("a"))[:, 0]
        np.testing.assert_array_equal(found, [1, 3, 4, np.nan, 0, 2, 4])


def test_truth_values_among_numbers_are_numbers_whatever_comes_first() -> None:
    cells = pd.Series([1, True, 3, None, False, 0], dtype=object)
    for order in (cells, cells[::-1]):
        codes = TableCodes.learn(order.to_frame("a"))
        assert codes.levels == (None,)
        found = codes.encode(cells.to_frame("a"))[:, 0]
        np.testing.assert_array_equal(found, [1, 1, 3, np.nan, 0, 0])


def test_truth_values_alone_stay_categories() -> None:
    cells = pd.DataFrame({"a": pd.Series([True, None, False], dtype=object), "b": list("xyz")})
    assert TableCodes.learn(cells).levels[0] == ("False", "True")


def test_complex_numbers_are_refused_beside_text() -> None:
    X = pd.DataFrame({"z": np.arange(6) + 1j, "t": list("ababab")})
    with pytest.raises(TaskError, match="Complex data not supported: column 'z'"):
        MetaFewShotClassifier().fit(X, _labels_of(X))
    clf = MetaFewShotClassifier().fit(X.assign(z=np.arange(6.0)), _labels_of(X))
    with pytest.raises(TaskError, match="Complex data not supported: column 'z'"):
        clf.predict(X)


_DAYS = [datetime.date(2020, 1, day) for day in (1, 5, 2)]


@pytest.mark.parametrize(
    "cells",
    [
        _DAYS,
        [pd.Timestamp(_DAYS[0]), pd.NaT, pd.Timestamp(_DAYS[2])],
        [np.datetime64(day) for day in _DAYS],
        [np.datetime64(_DAYS[0], "ns"), np.datetime64("NaT"), np.datetime64(_DAYS[2], "ns")],
        [np.timedelta64(4, "h"), np.timedelta64(2, "D"), np.timedelta64("NaT")],
        [b"a", b"b", b"a"],
        [None, 2.0, 3.0],
    ],
    ids=["date", "Timestamp", "datetime64", "nanoseconds", "timedelta64", "bytes", "None"],
)
def test_lists_and_rows_of_objects_are_read_as_frames(cells: list) -> None:
    frame = pd.DataFrame({0: [1.0, 2.0, 3.0], 1: pd.Series(cells)})
    expected = TableCodes.learn(frame).encode(frame)
    rows = [[1.0, cells[0]], [2.0, cells[1]], [3.0, cells[2]]]
    arrays = [np.array([*row, None], dtype=object)[:2] for row in rows]
    for X in (rows, arrays):
        assert has_categories(X)
        np.testing.assert_array_equal(TableCodes.learn(X).encode(X), expected)


def test_arrays_of_text_are_tables() -> None:
    text = [["x", "b"], ["y", "b"], ["x", "a"]]
    strings = np.array(text, dtype=np.dtypes.StringDType())
    for X in (strings, [np.array(row) for row in text]):
        assert has_categories(X)
        np.testing.assert_array_equal(TableCodes.learn(X).encode(X), [[0, 1], [1, 1], [0, 0]])


@pytest.mark.parametrize(
    "X",
    [
        [[1.0, 2], [True, np.float32(3)]],
        [[torch.tensor(1.0), Decimal(2)]],
        [np.array([1.0, 2.0])],
        [np.array([1, Decimal(2)], dtype=object)],
        [[[1.0, 2.0]], [[3.0, 4.0]]],  # images
        [np.ones((2, 2))],
    ],
    ids=["numbers", "scalars", "rows", "objects", "images", "arrays"],
)
def test_lists_of_numbers_and_images_have_no_categories(X: list) -> None:
    assert not has_categories(X)


def test_text_that_cannot_be_read_asks_for_a_frame() -> None:
    class Cells:  # of another package
        shape = (2, 1)

        def __len__(self) -> int:
            return 2

        def __array__(self, dtype=None, copy=None) -> np.ndarray:
            return np.array([["a"], ["b"]], dtype=object)

    with pytest.raises(
        ValueError, match=r"could not convert string[^.]*\nPass a DataFrame, of pan"
    ):
        MetaFewShotClassifier().fit(Cells(), [0, 1])
