"""The sampler's parts: configurations, observations, sources, similarity, expected improvement."""

import math
import time
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial
from scipy.integrate import quad

from metaest.tuning._acquisition import climb, log_expected_improvement, propose
from metaest.tuning._configurations import Configurations
from metaest.tuning._observations import known_space, observe
from metaest.tuning._portfolio import evaluate_candidates, greedy_portfolio
from metaest.tuning._posterior import Prior
from metaest.tuning._record import SearchRecord
from metaest.tuning._scaling import fit_into
from metaest.tuning._similarity import choose_weights, distances_from
from metaest.tuning._sources import SourceTask, find_sources, squash, why_unusable
from metaest.tuning._trials import make_trials

SPACE: dict[str, BaseDistribution] = {
    "float": FloatDistribution(-2.0, 3.0),
    "log": FloatDistribution(1e-5, 1e2, log=True),
    "step": FloatDistribution(0.0, 1.0, step=0.25),
    "int": IntDistribution(1, 10),
    "by 3": IntDistribution(2, 14, step=3),
    "log int": IntDistribution(1, 1024, log=True),
    "category": CategoricalDistribution(["a", None, True, 2, 0.5]),
    "fixed": IntDistribution(7, 7),
}


def draw(n: int, space: dict[str, Any] = SPACE, seed: int = 0) -> list[dict[str, Any]]:
    """Draw with Optuna, so that every value is one of the space."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [study.ask(space).params for _ in range(n)]


def is_inside(params: dict[str, Any], space: dict[str, Any] = SPACE) -> bool:
    create_trial(value=0.0, params=params, distributions={n: space[n] for n in params})
    return all(space[n]._contains(space[n].to_internal_repr(v)) for n, v in params.items())


# ------------------------------------------------------------------------------- configurations


def test_params_survive_the_round_trip() -> None:
    configurations, params = Configurations(SPACE), draw(50)
    rows = configurations.read(params)
    assert rows.active.all()
    for number, own in enumerate(params):
        found = configurations.write(rows, number)
        assert found == pytest.approx(own)
        for name in ("step", "int", "by 3", "log int", "category", "fixed"):
            assert found[name] == own[name]
            assert type(found[name]) is type(own[name])


def test_what_is_drawn_and_varied_is_of_the_space() -> None:
    configurations, rng = Configurations(SPACE), np.random.default_rng(0)
    drawn = configurations.draw(200, rng)
    varied = configurations.vary(drawn, rng)
    for rows in (drawn, varied):
        for number in range(200):
            assert is_inside(configurations.write(rows, number))
        # what is rounded is where it is said to be
        again = configurations.read([configurations.write(rows, i) for i in range(200)])
        np.testing.assert_allclose(again.values, rows.values, atol=1e-9)
    for name, n in [("int", 10), ("by 3", 5), ("category", 5), ("step", 5)]:
        assert len({configurations.write(drawn, i)[name] for i in range(200)}) == n
    assert (np.abs(varied.values - drawn.values) > 1e-12).any(axis=1).mean() > 0.7


def test_whole_numbers_are_drawn_alike_at_the_ends() -> None:
    configurations = Configurations({"int": IntDistribution(1, 4)})
    drawn = configurations.draw(4000, np.random.default_rng(0))
    values = [configurations.write(drawn, i)["int"] for i in range(4000)]
    np.testing.assert_allclose(np.bincount(values)[1:] / 4000, 0.25, atol=0.03)


@pytest.mark.parametrize(
    ("distribution", "number", "value"),
    [
        (FloatDistribution(0, 1), 1.7, 1.0),
        (FloatDistribution(0, 1), -3, 0.0),
        (FloatDistribution(0.1, 0.9, step=0.4), 0.72, 0.9),
        (FloatDistribution(0.1, 0.9, step=0.4), 0.68, 0.5),
        (IntDistribution(0, 10, step=5), 7.4, 5),
        (IntDistribution(3, 9), 8.6, 9),
        (IntDistribution(3, 9), 11, 9),
        (IntDistribution(1, 100, log=True), 0.6, 1),
    ],
    ids=str,
)
def test_a_number_is_fitted_into_a_distribution(
    distribution: Any, number: float, value: float
) -> None:
    found = fit_into(distribution, number)
    assert found == pytest.approx(value)
    assert distribution._contains(found)


def test_narrower_limits_hold() -> None:
    narrow: dict[str, BaseDistribution] = {
        "float": FloatDistribution(0.5, 0.6),
        "log": FloatDistribution(1e-2, 1e-1, log=True),
        "int": IntDistribution(3, 4),
        "log int": IntDistribution(2, 8, log=True),
    }
    configurations = Configurations(SPACE).narrowed(narrow)
    rng = np.random.default_rng(0)
    far = Configurations(SPACE).draw(60, rng)
    for rows in (configurations.draw(60, rng), configurations.bring_inside(far)):
        for number in range(60):
            params = configurations.write(rows, number)
            own = {name: fit_into(narrow[name], params[name]) for name in narrow}
            assert {name: params[name] for name in narrow} == pytest.approx(own)


def test_what_is_unknown_or_of_another_kind_is_left_out() -> None:
    configurations = Configurations(SPACE)
    rows = configurations.read(
        [{"float": 1.0, "no": 3}, {"category": "z", "log": -1.0, "int": "x"}]
    )
    assert rows.active.sum() == 1
    assert not np.isnan(rows.values).any()


def test_encoded_columns_are_bounded_and_inactive_ones_zero() -> None:
    space: dict[str, Any] = {
        "kernel": CategoricalDistribution(["linear", "poly", "rbf"]),
        "degree": IntDistribution(2, 5),
        "gamma": FloatDistribution(1e-3, 1e3, log=True),
    }
    params: list[dict[str, Any]] = [
        {"kernel": "linear"},
        {"kernel": "poly", "degree": 5, "gamma": 1e3},
        {"kernel": "rbf", "gamma": 1e-3},
    ]
    plain = Configurations(space)
    configurations = plain.with_conditions(plain.read(params))
    x = configurations.encode(configurations.read(params))
    # three categories, degree and whether it is there, gamma and whether it is there
    assert x.shape == (3, 7)
    assert np.abs(x).max() <= 1
    np.testing.assert_array_equal(x[:, :3], np.eye(3))
    np.testing.assert_array_equal(x[:, 4], [0, 1, 0])
    np.testing.assert_array_equal(x[:, 6], [0, 1, 1])
    np.testing.assert_allclose(x[:, 5], [0, 1, -1])
    assert (x[0, 3:] == 0).all()
    drawn = configurations.draw(300, np.random.default_rng(0))
    assert np.abs(configurations.encode(drawn)).max() <= 1
    for number in range(300):
        own = configurations.write(drawn, number)
        active = dict(zip(configurations.names, drawn.active[number], strict=True))
        assert active["degree"] == (own["kernel"] == "poly")
        assert active["gamma"] == (own["kernel"] != "linear")


def test_conditions_in_chains_and_on_numbers() -> None:
    space: dict[str, Any] = {
        "layers": IntDistribution(1, 3),
        "width 2": IntDistribution(8, 64),
        "width 3": IntDistribution(8, 64),
        "booster": CategoricalDistribution(["tree", "linear"]),
        "policy": CategoricalDistribution(["depth", "leaves"]),
        "leaves": IntDistribution(2, 9),
    }
    rng = np.random.default_rng(0)

    def wanted(own: dict[str, Any]) -> set[str]:
        names = {"layers", "booster"}
        names |= {"width 2"} if own["layers"] >= 2 else set()
        names |= {"width 3"} if own["layers"] >= 3 else set()
        names |= {"policy"} if own["booster"] == "tree" else set()
        has_leaves = own["booster"] == "tree" and own["policy"] == "leaves"
        return names | ({"leaves"} if has_leaves else set())

    params = [{n: own[n] for n in wanted(own)} for own in draw(60, space)]
    plain = Configurations(space)
    configurations = plain.with_conditions(plain.read(params))
    assert set(configurations.conditions) == {"width 2", "width 3", "policy", "leaves"}
    drawn = configurations.draw(300, rng)
    for number in range(300):
        own = configurations.write(drawn, number)
        active = np.array(configurations.names)[drawn.active[number]]
        assert set(active) == wanted(own)


def test_a_parameter_that_no_condition_explains_is_always_there() -> None:
    space: dict[str, Any] = {"a": FloatDistribution(0, 1), "b": FloatDistribution(0, 1)}
    params = [own if i % 2 else {"a": own["a"]} for i, own in enumerate(draw(20, space))]
    plain = Configurations(space)
    configurations = plain.with_conditions(plain.read(params))
    assert configurations.draw(50, np.random.default_rng(0)).active.all()


# --------------------------------------------------------------------------------- observations


def trial(
    state: TrialState, value: float | None = None, x: float = 0.5, **options: Any
) -> FrozenTrial:
    if state == TrialState.RUNNING:
        found = create_trial(
            state=TrialState.FAIL, params={"x": x}, distributions={"x": FloatDistribution(0, 1)}
        )
        found.state = state
        return found
    distributions: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1)}
    return create_trial(
        state=state, value=value, params={"x": x}, distributions=distributions, **options
    )


@pytest.mark.parametrize(("direction", "sign"), [("maximize", 1.0), ("minimize", -1.0)])
def test_failed_and_pruned_trials_count_as_bad(direction: str, sign: float) -> None:
    configurations = Configurations({"x": FloatDistribution(0, 1)})
    trials = [
        trial(TrialState.COMPLETE, sign * 1.0, 0.1),
        trial(TrialState.COMPLETE, sign * 0.6, 0.2),
        trial(TrialState.COMPLETE, sign * 0.5, 0.3),
        trial(TrialState.FAIL, x=0.4),
        trial(TrialState.PRUNED, x=0.5, intermediate_values={0: 0.0, 3: sign * 9.0}),
        trial(TrialState.PRUNED, x=0.6, intermediate_values={0: sign * 0.55}),
        trial(TrialState.PRUNED, x=0.7, intermediate_values={0: math.nan}),
        trial(TrialState.PRUNED, x=0.8),
        trial(TrialState.RUNNING, x=0.9),
    ]
    seen = observe(trials, configurations, direction)
    np.testing.assert_allclose(seen.rows.values[:, 0], np.arange(1, 9) / 10)
    np.testing.assert_allclose(seen.scores, [1.0, 0.6, 0.5, 0.5, 0.6, 0.55, 0.5, 0.5])
    np.testing.assert_allclose(seen.pending.values[:, 0], [0.9])


def test_infinite_scores_are_cut_off() -> None:
    configurations = Configurations({"x": FloatDistribution(0, 1)})
    values = [0.0, 1.0, math.inf, -math.inf]
    trials = [trial(TrialState.COMPLETE, value) for value in values]
    seen = observe(trials, configurations, "maximize")
    np.testing.assert_allclose(seen.scores, [0.0, 1.0, 1.0, 0.0])


@pytest.mark.parametrize("penalty", [1e308, -1e308])
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_immense_scores_are_cut_off(penalty: float) -> None:
    configurations = Configurations({"x": FloatDistribution(0, 1)})
    values = [0.0, 1.0, 0.5, penalty, penalty]
    trials = [trial(TrialState.COMPLETE, value) for value in values]
    cut = float(np.sign(penalty) > 0)
    for direction, sign in (("maximize", 1), ("minimize", -1)):
        seen = observe(trials, configurations, direction)
        np.testing.assert_allclose(sign * seen.scores, [0.0, 1.0, 0.5, cut, cut])
    assert len(observe(trials[3:], configurations, "maximize").rows) == 0


def test_without_a_finite_score_nothing_is_seen() -> None:
    configurations = Configurations({"x": FloatDistribution(0, 1)})
    trials = [trial(TrialState.FAIL), trial(TrialState.COMPLETE, math.inf)]
    assert len(observe(trials, configurations, "maximize").rows) == 0


def test_long_searches_are_thinned_to_the_best_and_the_latest() -> None:
    configurations = Configurations({"x": FloatDistribution(0, 1)})
    rng = np.random.default_rng(0)
    values = rng.random(1000)
    trials = [trial(TrialState.COMPLETE, v, x=i / 1000) for i, v in enumerate(values)]
    seen = observe(trials, configurations, "maximize")
    kept = np.round(seen.rows.values[:, 0] * 1000).astype(int)
    assert len(kept) == 300
    assert set(range(850, 1000)) <= set(kept)
    assert set(np.argsort(-values)[:100]) <= set(kept)


def test_the_known_space_grows_with_the_trials() -> None:
    narrow, wide = FloatDistribution(0, 1), FloatDistribution(-1, 0.5)
    first = create_trial(value=0, params={"x": 0.1}, distributions={"x": narrow})
    second = create_trial(value=0, params={"x": 0.1}, distributions={"x": wide})
    assert known_space([first, second], None) == {"x": FloatDistribution(-1, 1)}


# -------------------------------------------------------------------------------------- sources


def record(name: str, space: Any = None, n: int = 12, **options: Any) -> SearchRecord:
    space = {"a": FloatDistribution(0, 1), "b": IntDistribution(1, 9)} if space is None else space
    params = draw(n, space, seed=len(name))
    values = options.pop("values", None)
    values = np.arange(n, dtype=float) if values is None else values
    options = {"direction": "maximize", **options}
    return SearchRecord(
        name, space, trials=tuple(make_trials(params, values, space, name)), **options
    )


def test_searches_that_cannot_be_used_are_left_out() -> None:
    records = [
        record("fine"),
        record("also fine", metric="accuracy"),
        record("minimized", direction="minimize"),
        record("other metric", metric="loss"),
        record("constant", values=np.ones(12)),
        record("failed", values=np.full(12, np.nan)),
        record("another space", {"z": FloatDistribution(0, 1)}),
        record("of another kind", {"a": IntDistribution(0, 1), "b": IntDistribution(1, 9)}),
    ]
    sources = find_sources(records, direction="maximize", metric="accuracy")
    assert sources is not None
    assert [task.name for task in sources.tasks] == ["fine", "also fine"]
    assert [why_unusable(r, "maximize", "accuracy") for r in records] == [
        None,
        None,
        "another direction",
        "another metric",
        "constant scores",
        "no finished trial",
        None,  # of another space, which only the searches together tell
        None,
    ]
    assert find_sources(records[2:3], direction="maximize") is None
    assert find_sources([], direction="maximize") is None


def test_searches_of_another_model_are_left_out_where_both_are_known() -> None:
    records = [record("ridge", estimator="Ridge"), record("lasso", estimator="Lasso"), record("?")]
    for estimator, expected in (("Lasso", ["lasso", "?"]), (None, ["ridge", "lasso", "?"])):
        sources = find_sources(records, direction="maximize", estimator=estimator)
        assert sources is not None
        assert [task.name for task in sources.tasks] == expected
    assert why_unusable(records[0], "maximize", None, "Lasso") == "another estimator"


def test_the_largest_group_is_used_unless_a_space_is_known() -> None:
    other = {"z": FloatDistribution(0, 1)}
    records = [*(record(f"{i}") for i in range(3)), *(record(f"z{i}", other) for i in range(2))]
    by_default = find_sources(records, direction="maximize")
    assert by_default is not None
    assert [task.name for task in by_default.tasks] == ["0", "1", "2"]
    for asked in ({"space": other}, {"known": other}):
        found = find_sources(records, direction="maximize", **asked)
        assert found is not None
        assert [task.name for task in found.tasks] == ["z0", "z1"]
    assert find_sources(records, direction="maximize", known={"q": FloatDistribution(0, 1)}) is None


def test_ranges_that_differ_are_merged() -> None:
    records = [
        record("narrow", {"a": FloatDistribution(0, 1)}),
        record("wide", {"a": FloatDistribution(-4, 0.5)}),
    ]
    found = find_sources(records, direction="maximize")
    assert found is not None
    assert found.configurations.space == {"a": FloatDistribution(-4, 1)}
    for task, own in zip(found.tasks, records, strict=True):
        back = [found.configurations.write(task.rows, i)["a"] for i in range(12)]
        np.testing.assert_allclose(back, [t.params["a"] for t in own.trials])


def test_ten_thousand_trials_take_seconds() -> None:
    n = 10_000
    long = record("long", n=n, values=np.random.default_rng(0).random(n))
    start = time.process_time()
    sources = find_sources([long, record("short")], direction="maximize")
    assert sources is not None
    candidates = evaluate_candidates(sources)
    assert time.process_time() - start < 5
    task = sources.tasks[0]
    assert len(task.raw) == 300
    best = max(t.value for t in long.trials if t.value is not None)
    assert task.raw.max() == best
    assert candidates.scores.shape[0] == 2


def test_bad_scores_are_squashed_in_order() -> None:
    scores = np.array([-1e9, -5.0, 0.0, 0.4, 0.5, 0.6, 0.9, 1.0])
    squashed = squash(scores)
    assert (np.diff(squashed) > 0).all()
    np.testing.assert_array_equal(squashed[2:], scores[2:])
    assert squashed[0] > -20


# ----------------------------------------------------------------------------------- similarity


def tasks_with(features: list[dict[str, float] | None]) -> list[SourceTask]:
    rows = Configurations({"x": FloatDistribution(0, 1)}).read([{"x": 0.1}])
    scores = np.zeros(1)
    return [SourceTask(str(i), rows, scores, scores, own) for i, own in enumerate(features)]


def test_distances_are_of_ranks() -> None:
    found = distances_from(
        tasks_with([{"a": 1.0, "b": 5.0}, {"a": 1e9, "b": 5.0}, None]), {"a": 2.0, "b": 5.0, "c": 1}
    )
    assert found is not None
    to_new, between = found
    assert to_new[0] == pytest.approx(to_new[1])
    assert to_new[2] == np.inf
    assert between[0, 1] == pytest.approx(2 * to_new[0])
    np.testing.assert_array_equal(between, between.T)
    np.testing.assert_array_equal(np.diag(between), 0)
    assert distances_from(tasks_with([None, None]), {"a": 1.0}) is None
    assert distances_from(tasks_with([{"a": 1.0}]), {"b": 1.0}) is None


def test_weights_only_where_they_help() -> None:
    rng = np.random.default_rng(0)
    place = np.repeat([0.0, 1.0], 8)  # of sixteen data sets, in two groups
    between = np.abs(place[:, None] - place) + 0.05
    np.fill_diagonal(between, 0)
    to_new = np.abs(place - 1.0) + 0.05
    own = np.where(place == 0, 0.9, 0.1)
    helps = np.column_stack([own, 1 - own, np.full(16, 0.55)]) + 0.01 * rng.random((16, 3))
    weights = choose_weights(helps, to_new, between, 1)
    assert weights is not None
    assert weights[place == 1].min() > 1.5 * weights[place == 0].max()
    assert greedy_portfolio(helps, 1) != greedy_portfolio(helps, 1, weights) == [1]
    same = np.tile(rng.random(12), (16, 1))
    assert choose_weights(same, to_new, between, 3) is None
    assert choose_weights(helps[:4], to_new[:4], between[:4, :4], 1) is None  # too few to tell
    assert choose_weights(helps, np.full(16, np.inf), between, 1) is None


def test_weights_do_no_harm_where_similarity_says_nothing() -> None:
    """They are taken now and then by chance; on new data sets that costs next to nothing."""
    rng = np.random.default_rng(0)
    place = rng.random(16)
    between, to_new = np.abs(place[:, None] - place), np.abs(place - 1)
    lost = []
    for _ in range(20):
        scores, new = rng.random((16, 12)), rng.random((500, 12))
        weights = choose_weights(scores, to_new, between, 3)
        weighted = new[:, greedy_portfolio(scores, 3, weights)].max(1).mean()
        lost.append(new[:, greedy_portfolio(scores, 3)].max(1).mean() - weighted)
    assert np.mean(lost) < 0.005
    assert max(lost) < 0.05


def test_a_portfolio_is_greedy_and_complementary() -> None:
    scores = np.array([[0.9, 1.0, 0.0, 0.8], [0.9, 0.0, 1.0, 0.8], [0.9, 0.0, 1.0, 0.8]])
    assert greedy_portfolio(scores, 3) == [0, 2, 1]
    assert greedy_portfolio(scores, 1, np.array([1.0, 1e-3, 1e-3])) == [1]
    assert sorted(greedy_portfolio(scores, 9)) == [0, 1, 2, 3]


# -------------------------------------------------------------------------- expected improvement


@pytest.mark.parametrize("std", [1e-3, 1.0, 50.0])
@pytest.mark.parametrize("z", [-6.0, -2.5, -1.0, -0.999, -0.3, 0.0, 0.7, 3.0, 9.0])
def test_expected_improvement_is_the_integral(z: float, std: float) -> None:
    """Integrate t exp(-(t - z)^2 / 2) over t > 0, its largest factor taken out."""
    peak = max(z, 0.0)
    area, _ = quad(
        lambda t: t * math.exp(-0.5 * (t - z) ** 2 + 0.5 * (peak - z) ** 2),
        0,
        peak + 40,
        points=[peak + 1, peak + 5],
        limit=400,
    )
    expected = math.log(std * area / math.sqrt(2 * math.pi)) - 0.5 * (peak - z) ** 2
    found = log_expected_improvement(np.array([2.0 + z * std]), np.array([std]), 2.0)
    assert found[0] == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_far_below_the_best_it_still_rises_with_the_mean() -> None:
    z = -np.geomspace(1e-3, 1e8, 4000)[::-1]
    found = log_expected_improvement(z, np.ones_like(z), 0.0)
    assert np.isfinite(found).all()
    assert (np.diff(found) > 0).all()
    leading = -0.5 * z**2 - 0.5 * math.log(2 * math.pi) - 2 * np.log(-z)
    far = z < -50
    np.testing.assert_allclose(found[far], leading[far], rtol=1e-6, atol=2e-3)


def test_more_uncertain_is_better_below_the_best() -> None:
    std = np.geomspace(1e-4, 10, 50)
    found = log_expected_improvement(np.full(50, -1.0), std, 0.0)
    assert (np.diff(found) > 0).all()


def test_proposals_are_of_the_space() -> None:
    configurations = Configurations(SPACE)
    rng = np.random.default_rng(0)
    known = configurations.read(draw(5))
    found = propose(configurations, known, np.arange(5.0), configurations.read(draw(3)), rng)
    assert len(found) > 100
    assert all(is_inside(configurations.write(found, i)) for i in range(0, len(found), 7))


def test_a_climb_ends_near_the_top_and_never_below_its_start() -> None:
    configurations = Configurations({n: FloatDistribution(0.0, 1.0) for n in "abcd"})
    rng = np.random.default_rng(0)
    start = configurations.draw(50, rng)

    def merit(rows: Any) -> np.ndarray:
        return -np.abs(rows.values - 0.3).sum(1)

    found = [climb(configurations, start, merit, rng) for _ in range(20)]
    ends = [merit(best)[0] for best, _ in found]
    assert ends == [worth for _, worth in found]
    assert min(ends) >= merit(start).max()
    assert np.mean(ends) > 0.6 * merit(start).max()  # both are below 0


def test_columns_that_a_configuration_does_not_have_leave_the_lengths_as_they_are() -> None:
    raw = torch.tensor([[0.5, -0.5, 0.2], [0.1, 0.9, -0.3]], dtype=torch.float64)
    wide = torch.cat([raw, torch.zeros(2, 5, dtype=torch.float64)], dim=1)
    narrow, more = Prior.cold(raw).center, Prior.cold(wide).center
    assert len(more) == 9
    assert more[0] == narrow[0] == pytest.approx(0.5 * math.log(3))
