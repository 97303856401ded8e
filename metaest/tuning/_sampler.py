"""MetaSampler."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from metaest._checks import check_int
from metaest.exceptions import InvalidParameterError
from metaest.tuning._configurations import SAME, Configurations
from metaest.tuning._description import describe_data
from metaest.tuning._observations import PLANNED_KEY, known_space, without_interrupted
from metaest.tuning._plan import Plan, Plans, fixed_params
from metaest.tuning._planner import Planner
from metaest.tuning._read_history import read_history
from metaest.tuning._record import PREFIX, SearchRecord
from metaest.tuning._scaling import fit_into
from metaest.tuning._spaces import model_name
from metaest.tuning._trials import check_space


class MetaSampler(BaseSampler):
    """Optuna sampler that begins where earlier searches ended.

    The first trials are a portfolio: configurations that together did well on all past searches.
    Then a deep-kernel Gaussian process that was meta-trained on the past searches proposes the
    configuration of highest expected improvement. If the scores of the running search contradict
    what the past says, that is unlearned, and a Gaussian process that knows only the running
    search takes over; it has every other trial where eight or more of the former improved nothing.
    It also has all trials after the portfolio where fewer than three past searches have six trials
    or more, too few to meta-train on. Without a usable past, the search is a cold one.

    What a trial is from stands in its user attributes: ``metaest:origin`` is "portfolio",
    "surrogate" (meta-trained), "cold" (a model of this search alone) or "random";
    ``metaest:source`` names the past search of a portfolio entry and its data set's distance, and
    says where the entry was moved into the new space; ``metaest:planned`` has what was planned and
    is not in the trial's own ranges. What was enqueued, or a PartialFixedSampler
    fixes, stands in ``metaest:fixed``; the rest is planned to go with it, and a portfolio entry
    that differs from it is "adapted". A sampler may be shared by studies.

    Parameters
    ----------
    history : History, path, URL, sequence of SearchRecord, or None, default=None
        Past searches. Those of another space, direction or metric are left out. It is read once,
        when the first trial is planned.
    X : array-like or DataFrame of shape (n_rows, n_columns), default=None
        The data set of the new search, to weigh past searches by the similarity of theirs, where
        that helps.
    y : array-like of shape (n_rows,), default=None
    meta_features : mapping of str to float, default=None
        Instead of X and y.
    space : mapping of str to optuna distribution, default=None
        The search space. Without it, that of the past searches that have the first parameter
        that a trial asks for.
    metric : str, default=None
        What the scores are; by default that of the MetaSearchCV, or the metric name of the study,
        if it has one, or else the metric that most past searches of its space have.
    estimator : estimator, class or its name, default=None
        What is tuned; past searches of another, known one are left out. By default that of the
        MetaSearchCV.
    defaults : mapping of str to value, default=None
        What a configuration of the portfolio has where its past search did not have a parameter.
        Otherwise the middle of a range, the first choice of a list.
    n_portfolio : int, default=3
        Trials from the portfolio.
    surrogate : {"meta", "cold"}, default="meta"
        What proposes trials after the portfolio: the meta-trained model, or one of this search
        alone, which needs no meta-training.
    n_random : int, default=8
        Random trials of a cold search before its model.
    seed : int, default=None
    verbose : int, default=0
        1 shows the progress of meta-training (some 20 seconds for 80 searches of 100 trials,
        before the first trial after the portfolio; once in a process).

    Raises
    ------
    HistoryError
        If the history cannot be read.
    TaskError
        If X and y cannot be described.
    InvalidParameterError
        If a parameter is wrong, only one of X and y is given, or both they and meta_features.

    References
    ----------
    Wistuba and Grabocka, Few-Shot Bayesian Optimization with Deep Kernel Surrogates, ICLR 2021.
    Wang et al., Pre-trained Gaussian Processes for Bayesian Optimization, JMLR 2024. Feurer et
    al., Auto-Sklearn 2.0, JMLR 2022 (portfolios).

    Examples
    --------
    >>> import optuna
    >>> from metaest.tuning import History, MetaSampler
    >>> space = {"x": optuna.distributions.FloatDistribution(-5, 5)}
    >>> history = History()
    >>> for best in (1.0, 1.2, 1.1):
    ...     grid = [{"x": float(x)} for x in range(-5, 6)]
    ...     scores = [-((point["x"] - best) ** 2) for point in grid]
    ...     history.add_trials(f"task {best}", grid, scores, space=space)
    >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
    >>> study = optuna.create_study(direction="maximize", sampler=MetaSampler(history, seed=0))
    >>> study.optimize(lambda trial: -((trial.suggest_float("x", -5, 5) - 1.3) ** 2), n_trials=1)
    >>> study.best_params
    {'x': 1.0}
    """

    def __init__(
        self,
        history: Any = None,
        *,
        X: Any = None,
        y: Any = None,
        meta_features: Mapping[str, float] | None = None,
        space: Mapping[str, BaseDistribution] | None = None,
        metric: str | None = None,
        estimator: Any = None,
        defaults: Mapping[str, Any] | None = None,
        n_portfolio: int = 3,
        surrogate: Literal["meta", "cold"] = "meta",
        n_random: int = 8,
        seed: int | None = None,
        verbose: int = 0,
    ) -> None:
        if meta_features is not None and X is not None:
            raise InvalidParameterError(
                "meta_features and X, y were both given; give one of them: the meta-features are "
                "computed from X and y."
            )
        check_int(n_portfolio, "n_portfolio")
        check_int(n_random, "n_random")
        if surrogate not in ("meta", "cold"):
            raise InvalidParameterError(f"surrogate must be 'meta' or 'cold', got {surrogate!r}.")
        if defaults is not None and not isinstance(defaults, Mapping):
            raise InvalidParameterError(
                f"defaults must be a dict of parameter name to value, got {defaults!r}."
            )
        if seed is not None:
            check_int(seed, "seed", low=0)
        self._history = history
        self._space = None if space is None else check_space(space)
        self._metric = metric
        self._estimator = model_name(estimator)
        described = describe_data(X, y, meta_features)
        self._planner = Planner(
            described, n_portfolio, surrogate == "meta", n_random, verbose, defaults
        )
        self._records: list[SearchRecord] | None = None
        self._rng = np.random.default_rng(seed)
        self._plans = Plans()
        self._lock = threading.RLock()

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return nothing: a trial is planned when it asks for its first parameter.

        Until then it is not known which parameters it has.
        """
        self._raise_error_if_multi_objective(study)
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return a configuration of a given space."""
        self._raise_error_if_multi_objective(study)
        if not search_space:
            return {}
        plan = self._plan_of(study, trial, search_space)
        return {n: self._value(study, trial, plan, n, own) for n, own in search_space.items()}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Return the planned value of a parameter, or a random one if none was planned."""
        self._raise_error_if_multi_objective(study)
        plan = self._plan_of(study, trial, {param_name: param_distribution})
        return self._value(study, trial, plan, param_name, param_distribution)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Forget the trial's plan."""
        with self._lock:
            self._plans.forget(study, trial)

    def reseed_rng(self) -> None:
        """Seed anew, from the operating system."""
        self._rng = np.random.default_rng()

    def complete(self, *, metric: str, estimator: str | None) -> None:
        """Take what the scores are and what is tuned, where that was not given."""
        self._metric = metric if self._metric is None else self._metric
        self._estimator = estimator if self._estimator is None else self._estimator

    def read_records(self) -> list[SearchRecord]:
        """Return the past searches; they are read once."""
        if self._records is None:
            self._records = read_history(self._history)
        return self._records

    def _plan_of(
        self, study: optuna.Study, trial: FrozenTrial, asked: Mapping[str, BaseDistribution]
    ) -> Plan:
        with self._lock:
            plan = self._plans.get(study, trial)
            if plan is None:
                plan = self._plan(study, trial, asked)
                for key, value in plan.attributes.items():
                    study._storage.set_trial_user_attr(trial._trial_id, PREFIX + key, value)
                self._plans.set(study, trial, plan)
            return plan

    def _plan(
        self, study: optuna.Study, trial: FrozenTrial, asked: Mapping[str, BaseDistribution]
    ) -> Plan:
        study = getattr(study, "_study", study)  # the whole one of a bracket of HyperbandPruner
        trials = [t for t in study.get_trials(deepcopy=False) if t.number != trial.number]
        trials = without_interrupted(trials)
        space = known_space([t for t in trials if t.distributions], self._space)
        names = study.metric_names
        return self._planner.plan(
            self.read_records(),
            trials,
            known={**space, **asked},
            direction=study.direction.name.lower(),
            metric=self._metric if self._metric is not None or not names else names[0],
            estimator=self._estimator,
            rng=self._rng,
            # Of trials in other threads, what is planned is known before all of it is asked for.
            planned=self._plans.params_of(study, trials),
            fixed=fixed_params(study, trial),
        )

    def _value(
        self, study: optuna.Study, trial: FrozenTrial, plan: Plan, name: str, distribution: Any
    ) -> Any:
        """Return a value of the distribution that the trial asks for, whatever was planned."""
        planned = plan.params.get(name)
        if isinstance(distribution, CategoricalDistribution):
            if name in plan.params and planned in distribution.choices:
                return distribution.choices[int(distribution.to_internal_repr(planned))]
        elif isinstance(planned, (int, float)) and not isinstance(planned, bool):
            value = fit_into(distribution, planned)
            if not math.isclose(value, planned, rel_tol=SAME, abs_tol=SAME):
                plan.moved[name] = planned
                study._storage.set_trial_user_attr(trial._trial_id, PLANNED_KEY, dict(plan.moved))
            return value
        with self._lock:
            single = Configurations({name: distribution})
            return single.write(single.draw(1, self._rng), 0)[name]

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_lock"} | {"_plans": Plans()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.RLock()
