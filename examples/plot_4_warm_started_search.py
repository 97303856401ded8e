"""
Start a search where others ended
=================================

The second hyperparameter search of your life should not know as little as the first did.
``MetaSearchCV`` starts from past searches on other data sets: from those that come with metaest,
and then from your own.
"""

# %%
# A search that is warm from the start
# ------------------------------------
# Used like scikit-learn's ``RandomizedSearchCV``, but nothing else is needed: for a support vector
# machine metaest knows a space, and what searches in it found on some fifty data sets.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from optuna.distributions import FloatDistribution, IntDistribution
from sklearn.datasets import load_breast_cancer, load_digits, load_wine, make_classification
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from metaest.tuning import History, MetaSearchCV

X, y = load_breast_cancer(return_X_y=True)
model = make_pipeline(StandardScaler(), SVC())
search = MetaSearchCV(model, n_trials=10, random_state=0).fit(X, y)
search.best_params_

# %%
# Where did the candidates come from? The first trials are a *portfolio*: configurations that
# together did well on the past data sets. Then a *surrogate*, a model that was meta-trained on the
# past searches, proposes what to try.

print(search.warm_start_report_)

# %%
# What is that worth?
# -------------------
# ``history=None`` makes the same search a cold one. A single pair of searches proves little, so run
# four of each, on these data and on harder ones that are made up. Neither is in the history.

made_up = make_classification(
    400, 20, n_informative=8, n_classes=3, n_clusters_per_class=3, random_state=0
)
data = {"breast cancer": (X, y), "made up, three classes": made_up}


def incumbents(history, data, n_searches=4):
    """Return the best score so far: (searches, trials)."""
    found = []
    for seed in range(n_searches):
        search = MetaSearchCV(model, history=history, n_trials=10, random_state=seed).fit(*data)
        found.append(np.maximum.accumulate(search.cv_results_["mean_test_score"]))
    return np.array(found)


curves = {
    title: {
        "cold": incumbents(None, own),
        "warm": incumbents("embedded", own),
    }
    for title, own in data.items()
}

# %%
# Regret is how far the best score so far is behind the best that any of the eight searches found.

figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for ax, (title, own) in zip(axes, curves.items(), strict=True):
    best = max(found.max() for found in own.values())
    for (name, found), color in zip(own.items(), ["#D55E00", "#0072B2"], strict=True):
        regret = 100 * (best - found)
        trials = np.arange(1, regret.shape[1] + 1)
        ax.plot(trials, regret.T, color=color, linewidth=0.8, alpha=0.35)
        ax.plot(trials, regret.mean(0), "o-", color=color, markersize=4, label=f"{name}, mean of 4")
    ax.set(xlabel="trials", ylim=(0, None), xticks=[1, 2, 4, 6, 8, 10])
    ax.set_title(title, loc="left", fontsize="medium")
    ax.grid(axis="y", color="0.93")
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
axes[0].set_ylabel("regret (points of accuracy)")
_ = axes[0].legend(frameon=False)

# %%
# No warm search began badly here. Where many configurations are good, as on the left, a cold one
# soon catches up; on the right that takes most of its trials. In the end both come to about the
# same place on such small problems. What was saved is the first trials, and where a trial takes an
# hour, these are what counts.

# %%
# Your own history
# ----------------
# Nobody ships searches of *your* pipelines. Give ``history=`` a path: the searches are kept there,
# as Optuna studies, and each one starts from those before it.

folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "searches.db"
pipeline = make_pipeline(StandardScaler(), Nystroem(random_state=0), RidgeClassifier())
space = {
    "nystroem__gamma": FloatDistribution(1e-5, 1e1, log=True),
    "nystroem__n_components": IntDistribution(10, 100, log=True),
    "ridgeclassifier__alpha": FloatDistribution(1e-4, 1e3, log=True),
}
digits, labels = load_digits(return_X_y=True)
three = {
    "wine": load_wine(return_X_y=True),
    "digits": (digits[:500], labels[:500]),
    "breast cancer": (X, y),
}
searches = {}
for name, own in three.items():
    search = MetaSearchCV(pipeline, space, history=path, task=name, n_trials=10, random_state=0)
    searches[name] = search.fit(*own)
    print(f"{name}: {search.warm_start_report_}\n")

# %%
# The first search was a cold one; its first trials are random. The second began with the best that
# the first had found, the third with what was good on both.

looks = {
    "random": ("0.7", "random"),
    "portfolio": ("#0072B2", "portfolio: from past searches"),
    "cold": ("#E69F00", "model of this search's trials"),
}
figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained", sharey=True)
for ax, (name, search) in zip(axes, searches.items(), strict=True):
    errors = 100 * (1 - search.cv_results_["mean_test_score"])
    origins = [trial.user_attrs["metaest:origin"] for trial in search.study_.trials]
    trials = np.arange(1, len(errors) + 1)
    ax.step(trials, np.minimum.accumulate(errors), color="0.8", where="post", zorder=0)
    for origin, (color, label) in looks.items():
        own = np.array([o == origin for o in origins])
        ax.scatter(trials[own], errors[own], color=color, label=label)
    ax.set(xlabel="trials", xticks=[1, 2, 4, 6, 8, 10], yscale="log")
    ax.set_yticks(ticks := [2, 5, 10, 20, 50, 100], ticks)
    ax.minorticks_off()
    ax.set_ylim(1, 100)
    n_past = search.warm_start_report_.n_source_tasks
    past = f"{n_past} past search{'' if n_past == 1 else 'es'}"
    ax.set_title(f"{name}: {past}", loc="left", fontsize="medium")
    ax.grid(axis="y", color="0.93")
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
axes[0].set_ylabel("error (%)")
handles, names = axes[0].get_legend_handles_labels()
_ = figure.legend(handles, names, loc="outside upper center", ncols=3, frameon=False)

# %%
# It is an ordinary Optuna storage: plain Optuna and its dashboard read the file, too.

history = History(path)
print(history)
history.to_frame().groupby("task", sort=False)["value"].describe().round(3)

# %%
# ``benchmarks/RESULTS.md`` has what this buys on many more data sets, and what happens when the
# history misleads.

folder.cleanup()
