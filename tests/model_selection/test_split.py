"""EpisodicSplit: the properties of episodes, and scikit-learn's idea of a splitter."""

import numpy as np
import pytest
import sklearn
from scipy import stats
from sklearn.model_selection import GridSearchCV, check_cv, cross_val_score, cross_validate
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from metaest.exceptions import EpisodeError, InvalidParameterError, TaskError
from metaest.model_selection import EpisodicSplit

N_CLASSES, N_EACH = 8, 12
Y = np.repeat([f"class {c}" for c in range(N_CLASSES)], N_EACH)
X = np.random.default_rng(0).normal(size=(len(Y), 3)) + np.repeat(np.eye(8)[:, :3], 12, axis=0)


def episodes(y=Y, groups=None, **params):
    params = {
        "n_episodes": 40,
        "n_ways": 3,
        "n_shots": 2,
        "n_queries": 4,
        "random_state": 0,
    } | params
    return list(EpisodicSplit(**params).split(None, y, groups))


def test_support_and_query_have_the_asked_rows_and_share_none():
    for support, query in episodes():
        assert np.intersect1d(support, query).size == 0
        assert len(np.unique(support)) == len(support)
        assert len(np.unique(query)) == len(query)
        classes, n_shots = np.unique(Y[support], return_counts=True)
        query_classes, n_queries = np.unique(Y[query], return_counts=True)
        assert len(classes) == 3
        assert (n_shots == 2).all()
        assert (n_queries == 4).all()
        assert (classes == query_classes).all()


def test_an_int_seed_gives_the_same_episodes_and_another_seed_others():
    def flat(**params):
        return np.concatenate([np.concatenate(pair) for pair in episodes(**params)])

    assert (flat() == flat()).all()
    assert (flat() != flat(random_state=1)).any()
    assert (flat(random_state=None) != flat(random_state=None)).any()
    state = np.random.RandomState(0)
    cv = EpisodicSplit(5, n_ways=3, n_queries=4, random_state=state)
    first, second = (np.concatenate([s for s, _ in cv.split(X, Y)]) for _ in range(2))
    assert (first != second).any()


def test_few_episodes_are_the_first_of_many():
    for few, many in zip(episodes(n_episodes=5), episodes(n_episodes=50), strict=False):
        assert (few[0] == many[0]).all()
        assert (few[1] == many[1]).all()


def test_the_order_of_the_rows_within_an_episode_does_not_tell_the_class():
    first = [Y[support][0] for support, _ in episodes(n_episodes=200)]
    assert len(set(first)) == N_CLASSES


def test_classes_are_drawn_uniformly():
    drawn = [label for support, _ in episodes(n_episodes=600) for label in np.unique(Y[support])]
    _, counts = np.unique(drawn, return_counts=True)
    assert len(counts) == N_CLASSES
    assert stats.chisquare(counts).pvalue > 0.01  # of one fixed seed


def test_every_row_is_drawn_on_both_sides():
    # pytorch-meta#112: only the first rows of each class were ever used.
    drawn = episodes(n_episodes=400)
    for side in (0, 1):
        counts = np.bincount(np.concatenate([pair[side] for pair in drawn]), minlength=len(Y))
        assert counts.min() > 0
        assert counts.max() < 3 * counts.mean()


def test_ranges_are_drawn_within_and_all_values_come():
    drawn = episodes(n_episodes=200, n_ways=(2, 4), n_shots=(1, 3), n_queries=(2, 20))
    ways = [len(np.unique(Y[support])) for support, _ in drawn]
    shots = [len(s) // w for (s, _), w in zip(drawn, ways, strict=True)]
    assert set(ways) == {2, 3, 4}
    assert set(shots) == {1, 2, 3}
    for (_, query), n_ways, n_shots in zip(drawn, ways, shots, strict=True):
        assert len(query) == n_ways * (N_EACH - n_shots)  # of 20 as many as are left


def test_unbalanced_shots_differ_between_classes():
    counts = [
        np.unique(Y[s], return_counts=True)[1] for s, _ in episodes(n_shots=(1, 4), balanced=False)
    ]
    assert any(len(set(count)) > 1 for count in counts)
    assert {int(n) for count in counts for n in count} == {1, 2, 3, 4}


def test_n_ways_none_takes_all_classes():
    assert all(len(np.unique(Y[s])) == N_CLASSES for s, _ in episodes(n_ways=None))


def test_an_episode_lies_within_one_group_and_all_groups_come():
    groups = np.tile(["p", "q", "r", "s"], len(Y) // 4)
    drawn = episodes(groups=groups, n_shots=1, n_queries=2, n_episodes=60)
    seen = {tuple(np.unique(groups[np.concatenate(pair)])) for pair in drawn}
    assert seen == {("p",), ("q",), ("r",), ("s",)}


def test_a_group_with_fewer_classes_gives_all_of_them():
    groups = np.where(np.isin(Y, ["class 0", "class 1"]), "small", "large")
    ways = {len(np.unique(Y[s])) for s, _ in episodes(groups=groups)}
    assert ways == {2, 3}


def test_a_single_group_with_fewer_classes_gives_all_of_them():
    few = Y[: 2 * N_EACH]
    drawn = episodes(y=few, groups=np.zeros(len(few), int))
    assert {len(np.unique(few[s])) for s, _ in drawn} == {2}
    with pytest.raises(EpisodeError, match="asks for 3 classes, but the table has 2"):
        episodes(y=few)


def test_regression_episodes_are_rows_of_one_group_or_of_all():
    y = np.random.default_rng(0).normal(size=60)
    groups = np.repeat([1, 2, 3], 20)
    for group in (None, groups):
        for support, query in episodes(y=y, groups=group, n_shots=5, n_queries=7):
            assert (len(support), len(query)) == (5, 7)
            assert np.intersect1d(support, query).size == 0
            if group is not None:
                assert len(np.unique(group[np.concatenate([support, query])])) == 1


def test_whole_numbers_are_labels_unless_kind_says_otherwise():
    y = np.arange(60.0)
    with pytest.raises(EpisodeError, match="pass kind='regression'"):
        episodes(y=y)
    assert len(episodes(y=y, kind="regression")) == 40


def test_scikit_learn_takes_it_for_a_splitter():
    cv = EpisodicSplit(6, n_ways=3, n_shots=2, n_queries=4, random_state=0)
    model = KNeighborsClassifier(1)
    by_hand = [model.fit(X[s], Y[s]).score(X[q], Y[q]) for s, q in cv.split(X, Y)]
    assert check_cv(cv, Y, classifier=True) is cv
    assert cv.get_n_splits(X, Y) == 6
    assert cross_val_score(model, X, Y, cv=cv).tolist() == by_hand
    search = GridSearchCV(model, {"n_neighbors": [1, 3]}, cv=cv).fit(X, Y)
    assert search.n_splits_ == 6
    assert search.cv_results_["mean_test_score"][0] == pytest.approx(np.mean(by_hand))


def test_repr_is_scikit_learns():
    assert repr(EpisodicSplit(10, random_state=0)) == (
        "EpisodicSplit(balanced=True, kind='auto', n_episodes=10, n_queries=15,\n"
        "       n_shots=1, n_ways=5, random_state=0)"
    )


def test_groups_reach_it_with_and_without_metadata_routing():
    y = np.linspace(0, 1, 60)
    groups = np.repeat([1, 2, 3], 20)
    rows = np.arange(60.0).reshape(-1, 1)
    cv = EpisodicSplit(8, n_shots=3, n_queries=3, random_state=0)
    model = KNeighborsRegressor(1)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = cross_validate(
            model, rows, y, cv=cv, params={"groups": groups}, return_indices=True
        )["indices"]
    direct = cross_validate(model, rows, y, cv=cv, groups=groups, return_indices=True)["indices"]
    for side in ("train", "test"):
        for one, other in zip(routed[side], direct[side], strict=True):
            assert (one == other).all()
            assert len(np.unique(groups[one])) == 1


def test_lists_and_frames_are_fine():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, index=np.arange(len(X))[::-1])
    for y in (list(Y), pandas.Series(Y), pandas.Series(Y).astype("category")):
        cv = EpisodicSplit(3, n_ways=3, n_queries=4, random_state=0)
        for (support, query), expected in zip(cv.split(frame, y), cv.split(X, Y), strict=True):
            assert (support == expected[0]).all()
            assert (query == expected[1]).all()


BAD = [
    ({"y": None}, TaskError, r"drawn by y: pass it"),
    ({"y": Y[:0]}, TaskError, r"the table is empty"),
    ({"y": Y[:N_EACH]}, TaskError, r"has one class \(class 0\)"),
    ({"y": [[1, 2], [0, 1]]}, TaskError, r"one-dimensional"),
    ({"y": ["a", None, "b"]}, TaskError, r"1 missing value"),
    ({"n_ways": 9}, EpisodeError, r"asks for 9 classes, but the table has 8.*n_ways=8 or less"),
    ({"n_shots": 9}, EpisodeError, r"has 12 rows, but n_shots \+ n_queries = 13.*Lower n_shots"),
    ({"groups": [1, 2]}, TaskError, r"one entry per row: expected 96, got 2"),
    ({"groups": np.zeros((96, 2))}, TaskError, r"groups must be one-dimensional"),
    ({"groups": Y}, TaskError, r"group class 0 has one class"),
    ({"y": Y[:N_EACH], "groups": [1] * N_EACH}, TaskError, r"group 1 has one class.*Pass more"),
    ({"n_ways": 1}, InvalidParameterError, r"n_ways must be an int >= 2"),
    ({"n_shots": 0}, InvalidParameterError, r"n_shots must be an int >= 1"),
    ({"n_queries": (5, 2)}, InvalidParameterError, r"n_queries must be .* ascending"),
    ({"n_queries": 1.5}, InvalidParameterError, r"n_queries must be an int"),
    ({"balanced": "no"}, InvalidParameterError, r"balanced must be True or False, got 'no'"),
    ({"n_episodes": 0}, InvalidParameterError, r"n_episodes must be an int >= 1, got 0"),
    ({"n_episodes": (1, 5)}, InvalidParameterError, r"n_episodes must be an int"),
    ({"random_state": -1}, InvalidParameterError, r"random_state must be None, an int >= 0"),
    ({"random_state": "0"}, InvalidParameterError, r"random_state must be"),
    ({"kind": "ranking"}, InvalidParameterError, r"kind must be 'auto', 'classification' or"),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD)
def test_bad_input_is_one_clear_error(change, error, message):
    with pytest.raises(error, match=message):
        episodes(**change)


def test_errors_come_at_the_call_not_at_the_first_episode():
    with pytest.raises(EpisodeError):
        EpisodicSplit(n_shots=50).split(X, Y)


def test_too_few_rows_for_regression():
    with pytest.raises(EpisodeError, match="the table has 10 rows, but n_shots"):
        episodes(y=np.linspace(0, 1, 10), n_shots=5, n_queries=6)


def test_x_and_y_of_different_length():
    with pytest.raises(TaskError, match="differ in length: 3 rows, 96 targets"):
        EpisodicSplit().split(X[:3], Y)
