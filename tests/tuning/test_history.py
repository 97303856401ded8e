"""History: Optuna studies that plain Optuna reads, checked before they are written."""

import copy
import multiprocessing
import pickle
import sqlite3
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial
from sklearn.datasets import load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from metaest.exceptions import HistoryError, InvalidParameterError
from metaest.meta_features import MetaFeatures
from metaest.tuning import History, MetaSearchCV, suggest
from metaest.tuning._description import LEARNED

optuna.logging.set_verbosity(optuna.logging.WARNING)

SPACE = {
    "C": FloatDistribution(1e-3, 1e3, log=True),
    "degree": IntDistribution(1, 5),
    "kernel": CategoricalDistribution(["linear", "poly"]),
}
PARAMS = [
    {"kernel": "linear", "C": 1.0},
    {"kernel": "poly", "C": 10.0, "degree": 3},
    {"kernel": "poly", "C": 0.1, "degree": 1},
]
GIVEN: dict[str, Any] = {"task": "bad", "params": [{"C": 1.0}], "values": [1.0], "space": SPACE}
FILES = ["history.db", "history.journal", "history.log"]


def draw(n: int, seed: int) -> tuple[list[dict[str, Any]], np.ndarray]:
    rng = np.random.default_rng(seed)
    params = [
        {"C": float(10 ** rng.uniform(-3, 3)), "degree": int(rng.integers(1, 6)), "kernel": "poly"}
        for _ in range(n)
    ]
    return params, rng.random(n)


@pytest.fixture(params=[None, *FILES], ids=["memory", *FILES])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return None if request.param is None else str(tmp_path / request.param)


def test_trials_come_back_and_plain_optuna_reads_them(storage: Any) -> None:
    history = History(storage)
    history.add_trials("one", PARAMS, [0.1, 0.9, np.nan], space=SPACE, metric="accuracy")
    study = optuna.load_study(study_name="one", storage=history.storage)
    assert study.best_params == PARAMS[1]
    assert study.direction.name == "MAXIMIZE"
    assert study.user_attrs["metaest:metric"] == "accuracy"
    states = [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.FAIL]
    assert [trial.state for trial in study.trials] == states
    assert [trial.number for trial in study.trials] == [0, 1, 2]
    again = (history if storage is None else History(storage)).tasks()
    assert [record.task for record in again] == ["one"]
    assert again[0].space == SPACE
    assert [trial.params for trial in again[0].trials] == PARAMS
    assert not again[0].is_constant
    study.optimize(lambda trial: trial.suggest_float("C", 1e-3, 1e3, log=True), n_trials=1)
    assert len(study.trials) == 4


@pytest.mark.parametrize("file", FILES[:2])
def test_adding_twenty_searches_takes_seconds(file: str, tmp_path: Path) -> None:
    history = History(tmp_path / file)
    start = time.process_time()
    for seed in range(20):
        history.add_trials(str(seed), *draw(100, seed), space=SPACE)
    assert time.process_time() - start < 5
    assert len(history) == 20
    assert str(history).startswith("History(20 searches, 2000 trials")


def test_a_study_is_copied_with_pruned_and_failed_trials(storage: Any) -> None:
    study = optuna.create_study(study_name="cold", direction="minimize")

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        trial.report(x, 0)
        if trial.number == 1:
            raise optuna.TrialPruned
        return float("nan") if trial.number == 2 else x

    study.optimize(objective, n_trials=5)
    study.ask()  # still running: left out
    history = History(storage)
    X, y = load_iris(return_X_y=True)
    history.add_study(study, X=X, y=y, task="iris", metric="error")
    (record,) = history.tasks()
    assert (record.task, record.direction, record.metric) == ("iris", "minimize", "error")
    assert [t.state.name[0] for t in record.trials] == list("CPFCC")
    assert record.trials[1].intermediate_values == study.trials[1].intermediate_values
    assert record.trials[0].datetime_start is not None
    assert record.meta_features is not None
    names = MetaFeatures().get_feature_names_out().tolist()
    assert list(record.meta_features)[: len(names)] == names
    assert all(name.startswith(LEARNED) for name in list(record.meta_features)[len(names) :])
    assert record.fingerprint is not None


def test_a_study_in_the_same_storage_is_marked_in_place(storage: Any) -> None:
    history = History(storage)
    study = optuna.create_study(storage=history.storage, study_name="own")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    assert len(history) == 0
    history.add_study(study)
    assert len(optuna.get_all_study_names(history.storage)) == len(history) == 1
    with pytest.raises(HistoryError, match="already has a study named 'own'"):
        history.add_study(study)


@pytest.mark.parametrize(
    "estimator", ["SVC", SVC, SVC(), make_pipeline(StandardScaler(), SVC())], ids=str
)
def test_a_history_knows_the_model(estimator: Any, storage: Any) -> None:
    history = History(storage)
    history.add_trials("trials", PARAMS, [0.1, 0.9, 0.5], space=SPACE, estimator=estimator)
    study = optuna.create_study(study_name="study")
    study.optimize(lambda trial: trial.suggest_float("C", 1e-3, 1e3, log=True), n_trials=1)
    history.add_study(study, estimator=estimator)
    own = optuna.create_study(storage=history.storage, study_name="marked")
    own.optimize(lambda trial: trial.suggest_float("C", 1e-3, 1e3, log=True), n_trials=1)
    history.add_study(own, estimator=estimator)
    history.add_trials("unknown", PARAMS, [0.1, 0.9, 0.5], space=SPACE)
    expected = {"trials": "SVC", "study": "SVC", "marked": "SVC", "unknown": None}
    assert {record.task: record.estimator for record in history.tasks()} == expected
    stored = optuna.load_study(study_name="study", storage=history.storage)
    assert stored.user_attrs["metaest:estimator"] == "SVC"
    assert history.to_frame().groupby("task")["estimator"].first().dropna().unique() == ["SVC"]


def test_a_study_of_an_older_version_has_no_model() -> None:
    history = History()
    history.add_trials("old", PARAMS, [0.1, 0.9, 0.5], space=SPACE, estimator=SVC())
    (stored,) = history.storage.get_all_studies()
    attrs = {k: v for k, v in stored.user_attrs.items() if k != "metaest:estimator"}
    old = optuna.create_study(study_name="older", storage=history.storage)
    old.add_trials(history.tasks()[0].trials)
    for key, value in attrs.items():
        old.set_user_attr(key, value)
    assert [record.estimator for record in history.tasks()] == ["SVC", None]


def test_a_data_frame_and_openml_rows() -> None:
    history = History()
    frame = pd.DataFrame(PARAMS)
    history.add_trials("frame", frame, pd.Series([1, 2, 3]), space=SPACE)
    assert [trial.params for trial in history.tasks()[0].trials] == PARAMS
    rows = pd.concat([frame, frame]).assign(task_id=[3] * 3 + [6] * 3, value=range(6), run=0)
    history.add_openml(rows, space=SPACE, metric="accuracy")
    assert [record.task for record in history.tasks()] == ["frame", "openml/3", "openml/6"]
    table = history.to_frame()
    assert table.shape[0] == 9
    assert table["params_degree"].isna().sum() == 3
    with pytest.raises(HistoryError, match="not there: 'value'"):
        history.add_openml(rows.drop(columns="value"), space=SPACE)
    with pytest.raises(HistoryError, match="already has"):
        history.add_openml(rows.assign(task_id=[2] * 3 + [6] * 3), space=SPACE)
    assert len(history) == 3


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"params": [{"degre": 1}]}, r"'degre', which is not in the space .*Did you mean 'degree'"),
        ({"params": [{"C": 1e6}]}, r"trial 0 of task 'bad' has C=1000000.0, which is not in"),
        ({"params": [{"degree": 2.5}]}, "degree=2.5"),
        ({"params": [{"kernel": "rbf"}]}, "kernel='rbf'"),
        ({"params": [{"C": None}]}, "leave out the name"),
        ({"params": {"C": [1.0]}}, "list of dicts"),
        ({"values": [1.0, 2.0]}, "differ in length: 1 and 2"),
        ({"values": [np.nan]}, "no trial with a finite value"),
        ({"values": ["good"]}, "must be numbers"),
        ({"params": [], "values": []}, "nothing to learn"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_bad_trials_are_refused_and_nothing_is_added(change: dict[str, Any], match: str) -> None:
    history = History()
    with pytest.raises(HistoryError, match=match):
        history.add_trials(**GIVEN | change)
    assert optuna.get_all_study_names(history.storage) == []


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"space": {}}, "space must be a dict"),
        ({"space": {"C": [1, 2]}}, r"space\['C'\] must be"),
        ({"direction": "up"}, "direction must be"),
        ({"task": ""}, "task must be a name"),
        ({"metric": len}, "metric must be a name, such as 'accuracy', or None, got <built-in"),
        ({"meta_features": [1.0]}, "meta_features must be a dict"),
        ({"meta_features": {"a": np.nan}}, "'a' is nan"),
        ({"X": [[1.0]]}, "both, or neither"),
        ({"estimator": 3}, "its class or the name of that, such as 'SVC'; got 3"),
        ({"estimator": ""}, "estimator must be an estimator"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_wrong_arguments_are_refused_and_nothing_is_added(
    change: dict[str, Any], match: str
) -> None:
    history = History()
    with pytest.raises(InvalidParameterError, match=match):
        history.add_trials(**GIVEN | change)
    assert optuna.get_all_study_names(history.storage) == []


def test_of_tables_a_missing_value_is_a_failed_trial() -> None:
    history = History()
    values = pd.Series([1, None, 2], dtype="Float64")
    history.add_trials("one", PARAMS, values, space=SPACE)
    assert [trial.value for trial in history.tasks()[0].trials] == [1.0, None, 2.0]
    with pytest.raises(HistoryError, match=r"one number per trial, got shape \(3, 1\)"):
        history.add_trials("two", PARAMS, np.ones((3, 1)), space=SPACE)


def test_of_tables_an_empty_cell_is_the_choice_none_where_there_is_one() -> None:
    space = {
        "C": FloatDistribution(1e-2, 1e2, log=True),
        "degree": IntDistribution(1, 5),
        "class_weight": CategoricalDistribution([None, "balanced"]),
    }
    params = [{"C": 1.0, "class_weight": None, "degree": 2}, {"C": 2.0, "class_weight": "balanced"}]
    first, second = History(), History()
    first.add_trials("one", params, [0.9, 0.5], space=space)
    table = first.to_frame()
    read = table.filter(like="params_").rename(columns=lambda name: name.removeprefix("params_"))
    second.add_trials("one", read, table["value"], space=space)
    assert [trial.params for trial in second.tasks()[0].trials] == params
    second.add_openml(read.assign(task_id=3, value=table["value"]), space=space)
    assert [trial.params for trial in second.tasks()[1].trials] == params
    without = [{"C": 1.0}]  # a dict says that it was not active
    second.add_trials("two", without, [0.1], space=space)
    assert [trial.params for trial in second.tasks()[2].trials] == without


def test_of_tables_a_cell_may_hold_anything() -> None:
    params = pd.DataFrame({"C": [1.0, None]}, dtype=object)
    params.at[1, "C"] = np.array([1.0, np.nan])
    with pytest.raises(HistoryError, match=r"C=array\(\[ 1\., nan\]\), which is not in Float"):
        History().add_trials("one", params, [1.0, 2.0], space=SPACE)


@pytest.mark.filterwarnings("ignore:Choices for a categorical:UserWarning")
def test_choices_that_no_storage_keeps_are_refused(storage: Any) -> None:
    history = History(storage)
    choices: Any = [(50,), (100,), (50, 50)]
    study = optuna.create_study(study_name="tuples")
    study.optimize(lambda t: len(t.suggest_categorical("hidden", choices)), n_trials=2)
    with pytest.raises(HistoryError, match=r"'hidden' has the choice \(50,\).*over labels"):
        history.add_study(study)
    space = {"hidden": CategoricalDistribution(choices)}
    with pytest.raises(HistoryError, match=r"'hidden' has the choice"):
        history.add_trials("tuples", [{"hidden": (50,)}], [1.0], space=space)
    assert len(history.storage.get_all_studies()) == 0


def test_attributes_that_no_storage_keeps_are_refused(storage: Any) -> None:
    def objective(trial: optuna.Trial) -> float:
        if trial.number == 1:
            trial.set_user_attr("importance", np.arange(3))
        return trial.suggest_float("x", 0, 1)

    study = optuna.create_study(study_name="arrays")
    study.optimize(objective, n_trials=2)
    history = History(storage)
    if storage is not None:  # memory holds all
        for _ in range(2):
            with pytest.raises(HistoryError, match=r"'importance' of trial 1 cannot be stored"):
                history.add_study(study)
        assert history.storage.get_all_studies() == []
        study = optuna.create_study(study_name="arrays")
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    history.add_study(study)
    assert len(history.tasks()[0].trials) == 2


def test_what_fails_halfway_leaves_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    history = History(tmp_path / "history.journal")

    def fails(*args: Any) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as context:
        context.setattr(history.storage, "set_study_user_attr", fails)
        with pytest.raises(HistoryError, match="disk is full"):
            history.add_trials("one", PARAMS, [1, 2, 3], space=SPACE)
    assert history.storage.get_all_studies() == []
    history.add_trials("one", PARAMS, [1, 2, 3], space=SPACE)
    assert len(History(tmp_path / "history.journal").tasks()[0].trials) == 3


def test_printing_an_estimator_reads_no_history(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    history = History(path)
    history.add_trials("one", PARAMS, [1, 2, 3], space=SPACE)
    assert str(history) == f"History(1 search, 3 trials, {path})"
    history.storage.engine.dispose()  # type: ignore[attr-defined]
    path.write_bytes(b"no database at all" * 99)
    assert repr(history) == f"History({path})"
    alone = History()
    alone.add_trials("one", PARAMS[:1], [1], space=SPACE)
    assert str(alone) == "History(1 search, 1 trial, in memory)"
    assert repr(history) in repr(MetaSearchCV(SVC(), history=history)).replace("\n", "")


@pytest.mark.parametrize("url", ["mysql+no://me:s3cret@localhost/db", "no://me:s3cret@localhost/x"])
def test_errors_do_not_tell_the_password(url: str) -> None:
    search = MetaSearchCV(SVC(), storage=url, n_trials=1, history=None)
    for use in (lambda: History(url), lambda: search.fit(*load_iris(return_X_y=True))):
        with pytest.raises(HistoryError, match=r"://\*\*\*@localhost") as caught:
            use()
        assert "s3cret" not in str(caught.value)


def test_a_taken_name_is_refused(storage: Any) -> None:
    history = History(storage)
    history.add_trials("one", PARAMS, [1, 2, 3], space=SPACE)
    with pytest.raises(HistoryError, match="already has a study named 'one'"):
        history.add_trials("one", PARAMS, [1, 2, 3], space=SPACE)
    assert len(history.tasks()[0].trials) == 3


def test_searches_keep_their_own_space_metric_and_direction() -> None:
    history = History()
    history.add_trials("a", PARAMS, [1, 1, 1], space=SPACE, metric="accuracy")
    other = {"C": FloatDistribution(0.0, 1.0)}
    history.add_trials("b", [{"C": 0.5}], [3.0], space=other, direction="minimize", metric="mse")
    a, b = history.tasks()
    assert a.is_constant
    assert (a.direction, b.direction) == ("maximize", "minimize")
    assert (a.metric, b.metric) == ("accuracy", "mse")
    assert b.space == other


def test_studies_of_no_use_are_refused() -> None:
    history = History()
    with pytest.raises(HistoryError, match="2 objectives"):
        history.add_study(optuna.create_study(directions=["minimize", "maximize"]))
    with pytest.raises(HistoryError, match="no trial with a finite value"):
        history.add_study(optuna.create_study())
    study = optuna.create_study()
    study.add_trial(
        optuna.create_trial(
            value=1, params={"x": 0.5}, distributions={"x": FloatDistribution(0.1, 1)}
        )
    )
    study.add_trial(
        optuna.create_trial(
            value=1, params={"x": 0.5}, distributions={"x": FloatDistribution(0.1, 9, log=True)}
        )
    )
    with pytest.raises(HistoryError, match=r"'x' of study .* changed during the search"):
        history.add_study(study)


def test_ranges_that_grew_are_joined() -> None:
    study = optuna.create_study()
    for high in (1, 5):
        study.optimize(lambda trial, high=high: trial.suggest_float("x", 0, high), n_trials=1)
    history = History()
    history.add_study(study)
    assert history.tasks()[0].space == {"x": FloatDistribution(0, 5)}


# ------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize("file", FILES[:2])
def test_a_corrupt_file_is_a_clear_error(file: str, tmp_path: Path) -> None:
    path = tmp_path / file
    path.write_bytes(b"this is no history\n" * 500)
    with pytest.raises(HistoryError, match="is corrupt, or no Optuna storage"):
        History(path)
    assert path.read_bytes().startswith(b"this is no history")


@pytest.mark.parametrize("cut", [1, 30])
def test_behind_half_a_line_of_a_journal_nothing_is_written(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "history.journal"
    History(path).add_trials("one", PARAMS, [1, 2, 3], space=SPACE)
    half = path.read_bytes()[:-cut]
    path.write_bytes(half)
    with pytest.raises(HistoryError, match=r"is cut off.*Remove the text after the last line"):
        History(path).add_trials("two", PARAMS, [1, 2, 3], space=SPACE)
    assert path.read_bytes() == half
    assert list(tmp_path.iterdir()) == [path]  # no lock is left
    path.write_bytes(half[: half.rindex(b"\n") + 1])
    History(path).add_trials("two", PARAMS, [1, 2, 3], space=SPACE)
    assert [record.task for record in History(path).tasks()] == ["two"]


def test_a_locked_file_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    history = History(f"sqlite:///{path}?timeout=0.1")
    other = sqlite3.connect(path)
    other.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(HistoryError, match="is locked by another process"):
            history.add_trials("one", PARAMS, [1, 2, 3], space=SPACE)
    finally:
        other.rollback()
        other.close()
    history.add_trials("one", PARAMS, [1, 2, 3], space=SPACE)
    assert len(history) == 1


def test_tables_of_a_newer_optuna(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    History(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v99'")
    connection.close()
    with pytest.raises(HistoryError, match="another version of Optuna"):
        History(path)


def test_a_record_of_a_newer_metaest_or_a_damaged_one() -> None:
    history = History()
    history.add_trials("one", PARAMS, [1, 2, 3], space=SPACE)
    study = optuna.load_study(study_name="one", storage=history.storage)
    study.set_user_attr("metaest:space", {"C": 1})
    with pytest.raises(HistoryError, match="damaged metaest attributes"):
        history.tasks()
    study.set_user_attr("metaest:version", 2)
    with pytest.raises(HistoryError, match="by a newer metaest"):
        history.tasks()


@pytest.mark.parametrize(
    ("storage", "match"),
    [
        (3, "storage must be a path"),
        ("no/such/folder/history.db", r"folder .* does not exist"),
        ("nosuchdb://host/x", "is corrupt, or no Optuna|cannot be|driver"),
    ],
    ids=["type", "folder", "scheme"],
)
def test_no_storage(storage: Any, match: str) -> None:
    with pytest.raises(HistoryError, match=match):
        History(storage)


def _write(path: str, number: int) -> None:
    history = History(path)
    for part in range(2):
        seed = number * 2 + part
        history.add_trials(str(seed), *draw(20, seed), space=SPACE)


@pytest.mark.parametrize("file", FILES[:2])
def test_ten_processes_lose_nothing(file: str, tmp_path: Path) -> None:
    path = str(tmp_path / file)  # made by whoever comes first
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_write, args=(path, number)) for number in range(10)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 10
    records = {record.task: record for record in History(path).tasks()}
    assert set(records) == {str(seed) for seed in range(20)}
    for seed in range(20):
        params, values = draw(20, seed)
        assert [t.params for t in records[str(seed)].trials] == params
        assert [t.value for t in records[str(seed)].trials] == values.tolist()


@pytest.mark.parametrize("file", FILES[:2])
def test_a_relative_path_stays_where_it_was(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    history = History(file)
    history.add_trials("a", *draw(5, 0), space=SPACE)
    monkeypatch.chdir("elsewhere")
    assert len(history) == 1
    assert len(copy.deepcopy(history)) == len(pickle.loads(pickle.dumps(history))) == 1
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_marked_study_may_go_on_in_a_wider_space(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'a.db'}"
    study = optuna.create_study(storage=url, study_name="plain", direction="maximize")
    study.optimize(lambda trial: trial.suggest_float("C", 0, 1), n_trials=3)
    history = History(url)
    history.add_study(study)
    study.enqueue_trial({"C": 1.8, "z": 3})
    study.optimize(
        lambda trial: trial.suggest_float("C", 0, 2) + trial.suggest_int("z", 1, 3), n_trials=1
    )
    (record,) = history.tasks()
    assert record.space == {"C": FloatDistribution(0, 2), "z": IntDistribution(1, 3)}
    assert suggest(history, n=1)[0].params == {"C": 1.8, "z": 3}


def test_a_marked_study_may_go_on_in_another_scale() -> None:
    """Databases refuse that, Optuna's memory does not."""
    history = History()
    study = optuna.create_study(storage=history.storage, direction="maximize")
    for log, value in ((False, 1.0), (True, 9.0)):
        space = {"C": FloatDistribution(0.1, 1, log=log)}
        study.add_trial(create_trial(params={"C": 0.5}, distributions=space, value=value))
        if not log:
            history.add_study(study)
    (record,) = history.tasks()  # neither mixed nor in the way of other searches
    assert record.space == {"C": FloatDistribution(0.1, 1)}
    assert [trial.value for trial in record.trials] == [1.0]


def test_ids_of_openml_tasks() -> None:
    rows = pd.DataFrame(
        {"task_id": [3.0, 3.0, 5.0], "value": [0.1, 0.3, 0.5], "C": [0.1, 0.2, 0.3]}
    )
    space = {"C": FloatDistribution(0, 1)}
    history = History()
    history.add_openml(rows.set_index("task_id", drop=False), space=space)
    assert [record.task for record in history.tasks()] == ["openml/3", "openml/5"]
    for wrong in (np.nan, 2.5):
        rows.loc[1, "task_id"] = wrong
        with pytest.raises(
            HistoryError, match=rf"whole numbers, got (np.float64\()?{wrong}.*in row 1"
        ):
            History().add_openml(rows, space=space)


@pytest.mark.parametrize("values", [{0: 0.5, 1: 0.6}, {0.5, 0.6}], ids=["dict", "set"])
def test_scores_without_an_order_are_refused(values: Any) -> None:
    space = {"C": FloatDistribution(0.1, 10)}
    with pytest.raises(HistoryError, match="one number per trial, in their order"):
        History().add_trials("a", [{"C": 1.0}, {"C": 2.0}], values, space=space)


def test_two_columns_of_one_name_are_refused() -> None:
    frame = pd.DataFrame([[1.0, 2.0], [3.0, 4.0]], columns=["C", "C"])
    with pytest.raises(HistoryError, match="the columns C more than once"):
        History().add_trials("a", frame, [0.5, 0.6], space={"C": FloatDistribution(0.1, 10)})


@pytest.mark.parametrize("named", [False, True])
def test_what_broke_a_constraint_is_no_advice(named: bool) -> None:
    """Optuna keeps its value, which may be the best."""
    history, values = History(), np.linspace(0.0, 1.0, 21).tolist()
    for number in range(3):
        study = optuna.create_study(direction="maximize")
        for x in values:
            space, broken = (
                {"x": FloatDistribution(0, 1)},
                {"constraints:a": x - 0.5} if named else {"constraints": (x - 0.5,)},
            )
            study.add_trial(
                create_trial(value=x, params={"x": x}, distributions=space, system_attrs=broken)
            )
        history.add_study(study, task=str(number))
    assert 0 < max(own.params["x"] for own in suggest(history, n=10)) <= 0.5
