"""A scenario with conditional parameters: which of four models, and that model's parameters.

Made of the embedded history: on each of its data sets the score of a configuration is the mean of
a Gaussian process and a forest that were fitted to the 50 trials of the data set and the model. The
interface is that of :class:`_yahpo.Yahpo`. It was used for choices in the sampler, so numbers on it
show that it works, not how well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import optuna
import torch
from build_history import MODELS
from optuna.distributions import BaseDistribution, CategoricalDistribution
from sklearn.ensemble import ExtraTreesRegressor

from metaest.tuning import SearchRecord, default_space, embedded_history
from metaest.tuning._configurations import Configurations
from metaest.tuning._posterior import Features, Posterior, Prior


class Fit(NamedTuple):
    """What is known of a model's scores on a data set."""

    process: Posterior
    forest: ExtraTreesRegressor

    def predict(self, x: np.ndarray) -> np.ndarray:
        mean, _ = self.process.predict(Features(torch.from_numpy(x)))
        return 0.5 * (mean.clip(0.0, 1.0) + self.forest.predict(x))


class ModelChoice:
    """The scenario.

    Attributes
    ----------
    space : dict of str to optuna distribution
        "model", and "model:parameter" of each.
    tasks : list of str
    """

    name = "model_choice"
    metric = "accuracy"
    #: Without it Optuna's TPE samples conditional parameters independently.
    tpe_options: ClassVar[dict[str, Any]] = {"multivariate": True, "group": True}

    def __init__(self) -> None:
        records = {
            model: {record.task: record for record in embedded_history(estimator)}
            for model, estimator in MODELS.items()
        }
        self.tasks: list[str] = sorted(set.intersection(*map(set, records.values())))
        self.space: dict[str, BaseDistribution] = {"model": CategoricalDistribution(list(MODELS))}
        self._own: dict[str, Configurations] = {}
        for model, estimator in MODELS.items():
            own = default_space(estimator)
            self._own[model] = Configurations(own)
            self.space |= {f"{model}:{name}": distribution for name, distribution in own.items()}
        self._fits = {
            (task, model): self._fit(model, records[model][task])
            for task in self.tasks
            for model in MODELS
        }

    def __call__(self, task: str, params: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """Return the scores (n,) of n configurations; parameters of other models do not matter."""
        scores = np.zeros(len(params))
        for model, configurations in self._own.items():
            chosen = [i for i, own in enumerate(params) if own["model"] == model]
            if chosen:
                rows = configurations.read([_of(model, params[i]) for i in chosen])
                scores[chosen] = self._fits[task, model].predict(configurations.encode(rows))
        return scores

    def ask(self, study: optuna.Study) -> optuna.Trial:
        """Begin a trial: the model first, then what that model has."""
        trial = study.ask()
        model = trial.suggest_categorical("model", list(MODELS))
        for name, distribution in self.space.items():
            if name.startswith(f"{model}:"):
                trial._suggest(name, distribution)
        return trial

    def _fit(self, model: str, record: SearchRecord) -> Fit:
        configurations, trials = self._own[model], record.complete_trials
        x = configurations.encode(configurations.read([trial.params for trial in trials]))
        y = np.array([trial.value for trial in trials], dtype=float)
        raw = torch.from_numpy(x)
        forest = ExtraTreesRegressor(50, min_samples_leaf=2, random_state=0).fit(x, y)
        return Fit(Posterior(Features(raw), y, Prior.cold(raw)), forest)


def _of(model: str, params: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name.removeprefix(f"{model}:"): value
        for name, value in params.items()
        if name.startswith(f"{model}:")
    }
