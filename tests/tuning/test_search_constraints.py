"""MetaSearchCV with constraints, of the sampler or set on the trial."""

import math
from typing import Any

import numpy as np
import pytest
from optuna.distributions import IntDistribution
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial
from sklearn.datasets import load_digits
from sklearn.tree import DecisionTreeClassifier

from metaest.tuning import MetaSearchCV

X, Y = load_digits(return_X_y=True)
X, Y = X[:300], Y[:300]
DEPTHS = {"max_depth": IntDistribution(1, 8)}


def search_with_depth_up_to(limit: int, **options: Any) -> MetaSearchCV:
    def excess(trial: FrozenTrial) -> tuple[float]:
        return (trial.params["max_depth"] - limit,)

    sampler = TPESampler(seed=0, constraints_func=excess)
    tree = DecisionTreeClassifier(random_state=0)
    options = {"history": None, "n_trials": 10, "cv": 2, "sampler": sampler, **options}
    return MetaSearchCV(tree, DEPTHS, **options)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.filterwarnings("ignore:`constraints_func` has been deprecated")
class TestConstraints:
    @pytest.mark.parametrize("several", [False, True], ids=["one metric", "several metrics"])
    def test_the_best_keeps_them_and_others_rank_behind(self, several: bool) -> None:
        options = {"scoring": ["accuracy", "f1_macro"], "refit": "accuracy"} if several else {}
        metric = "accuracy" if several else "score"
        search = search_with_depth_up_to(4, **options).fit(X, Y)
        results = search.cv_results_
        keeps = results["param_max_depth"] <= 4
        scores, ranks = results[f"mean_test_{metric}"], results[f"rank_test_{metric}"]
        assert 0 < keeps.sum() < len(keeps)
        assert scores[~keeps].max() > scores[keeps].max()  # deeper trees are better
        assert search.best_params_["max_depth"] <= 4
        assert search.best_score_ == scores[keeps].max()
        assert search.best_trial_.params == search.best_params_
        assert search.warm_start_report_.best_score == pytest.approx(search.best_score_)
        assert ranks[keeps].max() < ranks[~keeps].min() == keeps.sum() + 1
        assert ranks.dtype == np.int32
        order = [(not good, -score) for good, score in zip(keeps, scores, strict=True)]
        assert ranks.tolist() == [1 + sum(other < own for other in order) for own in order]

    def test_without_a_refit(self) -> None:
        both = ["accuracy", "f1_macro"]
        search = search_with_depth_up_to(4, scoring=both, refit=False).fit(X, Y)
        assert search.best_trial_.params["max_depth"] <= 4

    def test_those_that_the_space_sets_on_the_trial(self) -> None:
        def space(trial: Any) -> dict[str, Any]:
            depth = trial.suggest_int("max_depth", 1, 8)
            trial.set_constraint("shallow", depth - 4)
            return {"max_depth": depth}

        options = {"history": None, "n_trials": 10, "cv": 2, "random_state": 0}
        tree = DecisionTreeClassifier(random_state=0)
        search = MetaSearchCV(tree, space, **options).fit(X, Y)
        assert max(search.cv_results_["param_max_depth"]) > 4
        assert search.best_params_["max_depth"] == 4

    def test_none_keeps_them(self) -> None:
        search = search_with_depth_up_to(0)
        with pytest.raises(ValueError, match=r"None of the 10 trials .* kept its constraints"):
            search.fit(X, Y)
        assert all(math.isfinite(trial.value) for trial in search.study_.trials)
