"""Bad input: one clear error with the remedy, never a traceback about tensor shapes."""

import numpy as np
import pandas as pd
import pytest
import torch
from skorch.callbacks import Callback
from torch import nn

from metaest import MetaFewShotClassifier, MetaFewShotRegressor
from metaest.exceptions import (
    ArchitectureMismatchError,
    CheckpointError,
    DeviceError,
    EpisodeError,
    InvalidParameterError,
    MetaTrainingWarning,
    TaskError,
    UnsupportedTaskError,
)
from metaest.learners import MAML, ProtoNet
from metaest.nets import MLP
from metaest.tasks import TaskSet


@pytest.fixture
def small(task):
    """Return an estimator whose meta-training on `task` takes a moment."""
    return MetaFewShotClassifier(n_ways=2, n_shots=2, n_queries=3, n_episodes=8, random_state=0)


# Tasks


@pytest.mark.parametrize("tasks", [[], ()])
def test_no_tasks(small, tasks):
    with pytest.raises(TaskError, match="task set is empty; pass at least one task"):
        small.fit_meta(tasks)


def test_an_empty_pool(small):
    with pytest.raises(TaskError, match="0 sample"):
        small.fit_meta(np.empty((0, 4)), [])


@pytest.mark.parametrize("tasks", [None, 3, "digits", np.zeros((4, 2))])
def test_what_is_no_task(small, tasks):
    with pytest.raises(TaskError, match=r"TaskSet, a list of \(X, y\) pairs, or X with y; got"):
        small.fit_meta(tasks)


def test_a_list_of_something_else(small):
    with pytest.raises(TaskError, match=r"task 0 must be a pair \(X, y\), got int"):
        small.fit_meta([1, 2])


def test_a_task_with_one_class(small, task):
    X, y = task
    with pytest.raises(TaskError, match=r"task '1' has one class \(0\).*Drop the task, or pool"):
        small.fit_meta([(X, y), (X, np.zeros_like(y))])


def test_too_few_rows_in_a_class(small, task):
    X, y = task
    keep = np.r_[0 : len(X) - 10]  # two rows of the last class
    with pytest.raises(EpisodeError, match=r"class 3 of the pool has 2 rows.*Lower n_shots"):
        small.fit_meta(X[keep], y[keep])


def test_too_few_rows_in_a_regression_task(line):
    X, y = line
    reg = MetaFewShotRegressor("ridge", n_shots=20, n_queries=20)
    with pytest.raises(EpisodeError, match=r"has 30 rows, but n_shots \+ n_queries = 40"):
        reg.fit_meta([(X, y), (X, y)])


def test_too_few_classes_in_the_pool(small, task):
    with pytest.raises(EpisodeError, match=r"n_ways=5 asks for 5 classes.*has 4.*Pass n_ways=4"):
        small.set_params(n_ways=5).fit_meta(*task)


def test_infinite_values_in_a_task(small, task):
    X, y = task
    X = X.copy()
    X[3, 1] = np.inf
    with pytest.raises(TaskError, match=r"X of task 'pool'.*(?s:.*)impute gaps first"):
        small.fit_meta(X, y)


@pytest.mark.parametrize("shape", [(4,), (1, 2, 2)])
def test_gaps_in_a_task(small, task, shape):
    X, y = task
    X = X.copy()
    X[3, 1] = np.nan
    where = " in column 1" if shape == (4,) else ""
    message = rf"task 'pool' has missing values \(NaN\){where}, which ProtoNet.*impute gaps first"
    with pytest.raises(TaskError, match=message):
        small.set_params(learner="protonet").fit_meta(X.reshape(-1, *shape), y)


def test_groups_of_the_wrong_length(small, task):
    X, y = task
    with pytest.raises(TaskError, match="groups must have one entry per row: expected 48, got 3"):
        small.fit_meta(X, y, groups=[1, 2, 3])


def test_groups_without_y(small, task):
    with pytest.raises(TaskError, match=r"groups but no y; call fit_meta\(X, y, groups=groups\)"):
        small.fit_meta(task[0], groups=task[1])


def test_lengths_of_X_and_y_differ(small, task):
    with pytest.raises(TaskError, match=r"differ in length: 48 rows, 47 targets"):
        small.fit_meta(task[0], task[1][1:])


def test_tasks_differ_in_columns(small, task):
    X, y = task
    with pytest.raises(TaskError, match=r"differ in their columns: rows of shapes \[\(3,\), \(4,"):
        small.set_params(learner="protonet").fit_meta([(X, y), (X[:, :3], y)])


def test_held_out_tasks_with_other_columns(small, task):
    X, y = task
    with pytest.raises(TaskError, match="validation_tasks have rows of shape"):
        small.fit_meta(X, y, validation_tasks=[(X[:, :3], y)])


def test_regression_tasks_for_a_classifier(small, line):
    with pytest.raises(TaskError, match=r"y of task '0' has real numbers.*MetaFewShotRegressor"):
        small.fit_meta([line])
    with pytest.raises(TaskError, match=r"expected classification tasks, got regression tasks"):
        small.fit_meta(TaskSet.from_datasets([line]))


# Parameters


@pytest.mark.parametrize("method", ["fit", "fit_meta"])
def test_unknown_learner(task, method):
    clf = MetaFewShotClassifier("protonett")
    with pytest.raises(InvalidParameterError, match=r"there are protonet, .*Did you mean 'proton"):
        getattr(clf, method)(*task)


def test_a_learner_that_cannot_do_regression(line):
    with pytest.raises(InvalidParameterError, match="ProtoNet cannot learn regression tasks; for"):
        MetaFewShotRegressor("protonet").fit(*line)


def test_unknown_backbone(task):
    with pytest.raises(InvalidParameterError, match=r"backbone='mlpp' is unknown.*mean 'mlp'"):
        MetaFewShotClassifier(backbone="mlpp").fit(*task)


def test_a_module_in_place_of_a_factory(task):
    with pytest.raises(InvalidParameterError, match=r"must be a factory.*got the module Linear"):
        MetaFewShotClassifier(backbone=nn.Linear(4, 4)).fit(*task)


def test_parameter_of_a_learner_that_is_a_name():
    with pytest.raises(InvalidParameterError, match=r"learner='maml' is a name.*learner=MAML\(\)"):
        MetaFewShotClassifier("maml").set_params(learner__inner_steps=3)
    clf = MetaFewShotClassifier("maml").set_params(learner=MAML(), learner__inner_steps=3)
    assert clf.learner.inner_steps == 3


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("method", ["fit", "fit_meta"])
def test_no_gpu(small, task, method):
    with pytest.raises(DeviceError, match=r"device='cuda' cannot be used.*Pass device=\"auto\""):
        getattr(small.set_params(device="cuda"), method)(*task)


def test_unknown_device(task):
    with pytest.raises(DeviceError, match="device='gpu' cannot be used"):
        MetaFewShotClassifier(device="gpu").fit(*task)


@pytest.mark.parametrize("input_shape", [(1, 2), (0, 2, 2), (1.0, 2, 2)])
def test_input_shape_that_is_none(task, input_shape):
    with pytest.raises(InvalidParameterError, match="input_shape must be"):
        MetaFewShotClassifier(input_shape=input_shape).fit(*task)


def test_input_shape_of_another_size(task):
    clf = MetaFewShotClassifier(input_shape=(1, 3, 3))
    with pytest.raises(InvalidParameterError, match="has 9 values a row, but X has 4 columns"):
        clf.fit(*task)


def test_images_without_channels(task):
    with pytest.raises(InvalidParameterError, match=r"got 3 dimensions.*X\[:, None\]"):
        MetaFewShotClassifier().fit(task[0].reshape(-1, 2, 2), task[1])


# What disagrees with meta-training


def test_other_columns_than_meta_trained(clf, task):
    X, y = task
    with pytest.raises(ArchitectureMismatchError, match=r"3 columns.* on 4 columns.*fit_meta agai"):
        clf.fit(X[:, :3], y)
    with pytest.raises(ArchitectureMismatchError, match=r"3 columns"):
        clf.predict_episodes(X[:, :3], y, [(np.r_[0:48], np.r_[0:3])])


def test_other_names_than_meta_trained(small, task):
    X, y = task
    frame = pd.DataFrame(X, columns=list("abcd"))
    small.fit_meta(frame, y)
    with pytest.raises(ArchitectureMismatchError, match=r"new: \['e'\], missing: \['d'\]"):
        small.fit(frame.rename(columns={"d": "e"}), y)
    with pytest.raises(ArchitectureMismatchError, match="the order differs"):
        small.fit(frame[list("dcba")], y)
    small.fit(X, y)  # no names, no complaint


def test_another_learner_than_meta_trained(clf, task):
    clf.set_params(learner=ProtoNet())
    with pytest.raises(ArchitectureMismatchError, match=r"with MAML\(\).*now ProtoNet\(\).*Set it"):
        clf.fit(*task)


def test_another_architecture_of_the_learner(clf, task):
    clf.set_params(learner__learn_inner_lr=True)
    with pytest.raises(ArchitectureMismatchError, match=r"learn_inner_lr=True.*network differs"):
        clf.fit(*task)


@pytest.mark.parametrize("backbone", ["mlp", MLP])
def test_another_backbone_than_meta_trained(clf, task, backbone):
    state = clf.meta_state_
    clf.set_params(backbone=backbone)
    with pytest.raises(ArchitectureMismatchError, match=r"with backbone='auto'. Set it back, or"):
        clf.fit(*task)
    clf.set_params(backbone="auto").fit(*task)  # set back: as before
    assert clf.meta_state_ is state


def test_another_input_shape_than_meta_trained(clf, task):
    clf.set_params(input_shape=(1, 2, 2))
    with pytest.raises(ArchitectureMismatchError, match=r"images of shape \(1, 2, 2\).*4 columns"):
        clf.fit(*task)


def test_images_of_another_size_at_predict():
    rng = np.random.default_rng(0)
    clf = MetaFewShotClassifier(random_state=0).fit(rng.normal(size=(6, 1, 8, 8)), [0, 1] * 3)
    with pytest.raises(ArchitectureMismatchError, match=r"\(1, 9, 9\).*was fitted on.*\(1, 8, 8\)"):
        clf.predict(rng.normal(size=(6, 1, 9, 9)))


# The new task


@pytest.mark.parametrize("fresh", [True, False])
def test_one_class_at_fit(clf, task, fresh):
    clf = MetaFewShotClassifier() if fresh else clf
    with pytest.raises(TaskError, match=r"at least 2 classes.*got 1 class, 7. Add rows"):
        clf.fit(task[0], np.full(48, 7))


def test_one_class_in_an_episode(clf, task):
    with pytest.raises(TaskError, match="got 1 class"):
        clf.predict_episodes(*task, [(np.r_[0:3], np.r_[3:6])])


@pytest.mark.parametrize(
    ("bad", "remedy"), [(np.nan, "SimpleImputer"), (np.inf, "Clip or drop those values")]
)
def test_values_that_are_not_finite(clf, task, bad, remedy):
    X, y = task
    broken = X.copy()
    broken[0, 0] = bad
    with pytest.raises(ValueError, match=remedy):
        clf.fit(broken, y)
    clf.fit(X, y)
    with pytest.raises(ValueError, match=remedy):
        clf.predict(broken)


def test_strings_in_a_frame(clf, task):
    frame = pd.DataFrame(task[0], columns=list("abcd")).assign(d="red")
    with pytest.raises(ValueError, match="Encode strings and categories first, in a pipeline"):
        clf.fit(frame, task[1])


def test_real_targets_for_a_classifier(clf, task):
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        clf.fit(task[0], task[0][:, 0])


def test_another_number_of_columns_at_predict(clf, task):
    X, y = task
    with pytest.raises(ValueError, match=r"X has 3 features, but .* is expecting 4 features"):
        clf.fit(X, y).predict(X[:, :3])


def test_no_standard_deviation(reg, line):
    with pytest.raises(UnsupportedTaskError, match=r"RidgeHead predicts no variance. Use .*'cnp'"):
        reg.fit(*line).predict(line[0], return_std=True)


# Interruption


class Interrupt(Callback):
    """Presses Ctrl-C in a round."""

    def __init__(self, round_: int) -> None:
        self.round_ = round_

    def on_batch_end(self, net, **kwargs):
        if len(net.history) == self.round_:
            raise KeyboardInterrupt


def test_interrupt_keeps_the_best_weights(small, task):
    small.set_params(n_episodes=64, meta_batch_size=8, callbacks=[Interrupt(3)])
    with pytest.warns(
        MetaTrainingWarning, match=r"interrupted in round 3.*Pass checkpoint="
    ) as told:
        assert small.fit_meta(*task) is small
    assert told[0].filename == __file__
    assert small.meta_state_.source == "fit_meta"
    assert small.fit(*task).score(*task) > 0.5


def test_interrupted_and_called_again_is_as_uninterrupted(small, task, tmp_path):
    small.set_params(n_episodes=64, meta_batch_size=8)
    whole = small.fit_meta(*task).fit(*task).predict_proba(task[0])
    small.set_params(callbacks=[Interrupt(3)])
    with pytest.warns(MetaTrainingWarning, match="Call fit_meta again with the same settings"):
        small.fit_meta(*task, checkpoint=tmp_path)
    small.set_params(callbacks=None).fit_meta(*task, checkpoint=tmp_path)
    np.testing.assert_array_equal(small.fit(*task).predict_proba(task[0]), whole)


def test_checkpoint_of_another_run(small, task, tmp_path):
    small.fit_meta(*task, checkpoint=tmp_path)
    with pytest.raises(CheckpointError, match="belongs to a run with other settings"):
        small.set_params(meta_lr=0.1).fit_meta(*task, checkpoint=tmp_path)


def test_checkpoint_without_a_seed(small, task, tmp_path):
    with pytest.raises(InvalidParameterError, match="checkpoint= needs an int as random_state"):
        small.set_params(random_state=None).fit_meta(*task, checkpoint=tmp_path)


# Values that lead nowhere


def test_predictions_are_finite_or_an_error(meta_fitted, task, line):
    X, y = task
    with pytest.raises(TaskError, match=r"not finite.*Scale X and y.*inner_lr"):
        meta_fitted("regression", "maml").fit(line[0] * 1e300, line[1])  # its steps diverge
    raw = MetaFewShotClassifier("protonet", standardize=False, random_state=0)
    with pytest.raises(TaskError, match=r"not finite"):
        raw.fit(X, y).predict(X * 1e300)  # squared distances overflow
    with pytest.raises(TaskError, match=r"not finite"):
        raw.predict_episodes(np.r_[X, X * 1e300], np.r_[y, y], [(np.r_[0:48], np.r_[48:96])])


def test_columns_of_classes_are_squashed(meta_fitted, task):
    X, y = task
    protonet = meta_fitted("classification", "protonet").fit(X, y)
    assert np.isfinite(protonet.predict_proba(X * 1e300)).all()


@pytest.mark.parametrize("missing", [None, pd.NA, np.nan])
def test_missing_labels(clf, task, missing):
    labels = pd.Series(task[1]).astype(str).astype(object)
    labels[5] = missing
    with pytest.raises(TaskError, match=r"y has 1 missing values \(first at row 5\); drop"):
        clf.fit(task[0], labels)


def test_missing_targets(reg, line):
    y = line[1].copy()
    y[0] = np.nan
    with pytest.raises(ValueError, match=r"Input y contains NaN\.\nDrop the rows whose target"):
        reg.fit(line[0], y)


@pytest.mark.parametrize(
    ("column", "remedy"),
    [
        (pd.Categorical(["u", "v"] * 24), "Encode strings and categories"),
        (pd.Series([1, pd.NA] * 24, dtype=object), "Put an imputer first"),
        (pd.Series([pd.Timestamp("2020")] * 48), "Turn dates into numbers"),
    ],
)
def test_columns_that_are_no_numbers(clf, task, column, remedy):
    frame = pd.DataFrame(task[0], columns=list("abcd"))
    with pytest.raises((ValueError, TypeError), match=remedy):
        clf.fit(frame.assign(d=column), task[1])
    with pytest.raises((ValueError, TypeError), match=remedy):
        clf.fit(frame, task[1]).predict(frame.assign(d=column))


@pytest.mark.parametrize("episode", [([0, 999], [1]), ([0], []), ([], [0]), 3])
def test_episodes_that_are_none(clf, task, episode):
    with pytest.raises((EpisodeError, TaskError), match=r"episode 0|at least 2 classes"):
        clf.predict_episodes(*task, [episode])


def test_a_fit_that_fails_changes_nothing(task):
    X, y = task
    clf = MetaFewShotClassifier(random_state=0).fit(X, y)
    before, expected = dict(vars(clf)), clf.predict_proba(X)
    rng = np.random.default_rng(0)
    with pytest.raises(UnsupportedTaskError, match="max_rows"):
        clf.fit(pd.DataFrame(rng.normal(size=(10_001, 2))), rng.choice(["a", "b"], 10_001))
    assert vars(clf) == before
    np.testing.assert_array_equal(clf.predict_proba(X), expected)


def test_columns_of_one_name(small, task):
    X, y = task
    frame = pd.DataFrame(X, columns=["a"] * X.shape[1])
    remedy = r"Keep one column of each name: X.loc\[:, ~X.columns.duplicated\(\)\]"
    with pytest.raises(TaskError, match=f"two of its columns have the same name. {remedy}"):
        small.fit_meta(frame, y)
    with pytest.raises(ValueError, match=remedy):
        MetaFewShotClassifier().fit(frame, y)


@pytest.mark.parametrize("learner", ["maml", "anil", "reptile", "bayesian_maml"])
def test_nothing_to_meta_train(learner, task):
    clf = MetaFewShotClassifier(learner, backbone="identity", n_ways=2, n_shots=1, n_queries=2)
    with pytest.raises(InvalidParameterError, match=r"backbone='identity' leaves .* nothing"):
        clf.fit_meta(*task)


def test_columns_that_single_precision_rounds(small, task):
    X, y = task
    shifted = np.c_[X, np.full(len(X), 5e8), X[:, 0] + 1e9]  # a constant one is no matter
    with pytest.warns(UserWarning, match=rf"column {X.shape[1] + 1} \(of 1 such\) varies by less"):
        small.fit_meta(shifted, y)


def _minutes(day):
    """Give times of one day that are within minutes, in seconds."""
    return 1.7e9 + 86400.0 * day + np.random.default_rng(day).uniform(0, 600, 20)


def test_dates_of_a_task_that_single_precision_rounds(small):
    y, size = np.arange(20) % 2, np.r_[np.nan, np.arange(19.0)]
    tables = [pd.DataFrame({"size": size, "of": "a", "when": _minutes(day)}) for day in range(3)]
    tables = [table.assign(when=pd.to_datetime(table["when"], unit="s")) for table in tables]
    with pytest.warns(UserWarning, match=r"column 2 \(of 1 such\) varies by less.*of dates: the f"):
        small.set_params(learner="in_context").fit_meta([(table, y) for table in tables])


def test_columns_of_a_task_that_single_precision_rounds(small):
    y, still = np.arange(20) % 2, np.full(20, 5e8)
    tables = [np.c_[y, still, _minutes(day)] for day in range(3)]  # over all tasks it varies
    small.set_params(learner="protonet", standardize=False)
    with pytest.warns(UserWarning, match=r"column 2 \(of 1 such\) varies by less"):
        small.fit_meta([(table, y) for table in tables])


@pytest.mark.parametrize("learner", ["ridge", "deep_kernel_gp"])
def test_targets_that_single_precision_rounds(learner):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3, 20, 2))
    reg = MetaFewShotRegressor(learner, n_shots=3, n_queries=3, n_episodes=4, random_state=0)
    reg.fit_meta([(x, x[:, 0] + 1e5) for x in X])
    with pytest.warns(UserWarning, match="targets of a task vary by less .* Subtract their mean"):
        reg.fit_meta([(x, x[:, 0] + offset) for x, offset in zip(X, [0, 1e9, -5e9], strict=True)])
    whole = 9e6 + np.arange(20) % 4  # which single precision has exactly
    jitter = 1 + 1e-10 * rng.normal(size=20)  # equal but for rounding
    reg.fit_meta([(x, y) for x, y in zip(X, [whole, jitter, X[0, :, 0]], strict=True)])


@pytest.mark.parametrize("fresh", [True, False])
def test_an_episode_without_query_rows(clf, task, fresh):
    clf = MetaFewShotClassifier(random_state=0) if fresh else clf
    with pytest.raises(EpisodeError, match=r"episode 1 has no query rows to predict\. Leave it"):
        clf.predict_episodes(*task, [(np.arange(40), [1]), (np.arange(40), [])])


def test_rows_that_a_network_of_single_precision_rounds(task):
    X, y = task
    shifted = np.c_[X, X[:, 0] + 1e9]
    clf = MetaFewShotClassifier("protonet", random_state=0)
    own = MetaFewShotClassifier("protonet", backbone=_linear, random_state=0).fit(X, y)
    clf.fit(shifted, y)  # in double: no warning
    with pytest.warns(UserWarning, match=r"column \d+ \(of 1 such\) varies .* from all rows first"):
        own.fit(shifted, y)


def _linear(input_shape):
    return nn.Linear(input_shape[0], 4)
