"""
Learn a curve from five points
==============================

The toy problem of MAML: every task is a sinusoid with an amplitude and a phase of its own. From
five points no method can know the curve, unless it has learned from other tasks what curves there
are.
"""

# %%
# Many small regressions
# ----------------------
# Each task has 40 points of one curve. Four of them:

import functools

import matplotlib.pyplot as plt
import numpy as np

from metaest import MetaFewShotRegressor
from metaest.datasets import make_sinusoid_tasks
from metaest.learners import MAML
from metaest.model_selection import cross_validate_episodes
from metaest.nets import MLP

tasks = make_sinusoid_tasks(5000, n_rows=40, random_state=0)
print(tasks)
for task in tasks[:4]:
    print(f"   {task.name:20} {len(task)} points")

# %%
# Meta-training
# -------------
# MAML looks for weights from which *one* step of gradient descent on five points of a new curve
# gives that curve. The network is that of the paper: two hidden layers of 40 units.

reg = MetaFewShotRegressor(
    MAML(inner_steps=1, inner_lr=0.05),
    backbone=functools.partial(MLP, hidden=(40, 40)),
    n_shots=5,
    n_queries=10,
    n_episodes=50_000,
    meta_batch_size=25,
    meta_lr=0.01,
    validation_fraction=0.02,
    random_state=0,
)
_ = reg.fit_meta(tasks)

# %%
# Adaptation
# ----------
# The number of steps is a parameter of ``fit``, not of what was meta-trained: ``set_params``
# changes it without another ``fit_meta``. With 0 steps we see the curve that every task starts
# from; it is nobody's curve, but a good place to step from.

grid = np.linspace(-5, 5, 201)[:, None]
new_tasks = make_sinusoid_tasks(3, n_rows=205, random_state=7)
figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), sharey=True, layout="constrained")
looks = {0: ("0.6", ":"), 1: ("#56B4E9", "--"), 10: ("#0072B2", "-")}
for ax, task in zip(axes, new_tasks, strict=True):
    X, y = task.X[:5], task.y[:5]
    order = task.X[:, 0].argsort()
    ax.plot(
        task.X[order, 0], task.y[order], color="#E69F00", linewidth=4, alpha=0.45, label="truth"
    )
    for steps, (color, style) in looks.items():
        reg.set_params(learner__inner_steps=steps).fit(X, y)
        label = f"{steps} step{'s' if steps != 1 else ''}"
        ax.plot(grid[:, 0], reg.predict(grid), style, color=color, label=label)
    ax.scatter(X[:, 0], y, s=45, color="black", zorder=3, label="the five points")
    ax.set_title(task.name, loc="left", fontsize="medium")
    ax.set(xlabel="x", xlim=(-5, 5))
    ax.grid(color="0.94")
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
axes[0].set_ylabel("y")
handles, labels = axes[0].get_legend_handles_labels()
_ = figure.legend(handles, labels, loc="outside upper center", ncols=5, frameon=False)

# %%
# Where there are no points the adapted curve still bends as a sinusoid does: that is what it knows
# from the other tasks.

# %%
# How good is it?
# ---------------
# Three curves prove nothing. So score 100 new ones, each learned from its first five points and
# scored on the others, after 0 to 10 steps; beside it the same network with untrained weights.
# ``cv=`` takes any list of (support, query) positions.

test = make_sinusoid_tasks(100, n_rows=55, random_state=1)
X, y = np.concatenate([t.X for t in test]), np.concatenate([t.y for t in test])
rows = np.arange(len(X)).reshape(len(test), 55)
episodes = [(own[:5], own[5:]) for own in rows]


def errors(estimator, numbers):
    """Return the mean squared error after each number of steps, and its half-width."""
    found = []
    for steps in numbers:
        estimator.set_params(learner__inner_steps=steps)
        scores = cross_validate_episodes(
            estimator, X, y, cv=episodes, scoring="neg_mean_squared_error"
        )
        estimate = scores.summary()[0]
        found.append((-estimate.mean, estimate.half_width))
    return np.array(found)


untrained = MetaFewShotRegressor(
    MAML(inner_lr=0.05), backbone=functools.partial(MLP, hidden=(40, 40)), random_state=0
)
numbers = [0, 1, 2, 5, 10]
curves = {"meta-trained": errors(reg, numbers), "untrained": errors(untrained, numbers)}

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for (name, curve), color in zip(curves.items(), ["#0072B2", "#D55E00"], strict=True):
    mean, half = curve.T
    ax.fill_between(numbers, mean - half, mean + half, color=color, alpha=0.15, linewidth=0)
    ax.plot(numbers, mean, "o-", color=color, markersize=4)
    ax.annotate(
        f"{name}\n{mean[-1]:.2f} ± {half[-1]:.2f}",
        (10, mean[-1]),
        xytext=(8, 0),
        textcoords="offset points",
        color=color,
        va="center",
    )
ax.axhline(y.var(), color="0.7", linestyle=":", linewidth=1)
ax.annotate(
    "variance of the targets",
    (10, y.var()),
    xytext=(0, -12),
    textcoords="offset points",
    color="0.45",
    ha="right",
)
ax.set(xlabel="steps of gradient descent on five points", xticks=range(0, 11, 2), ylim=(0, None))
ax.set_title(
    "Mean squared error on new curves, with its 95 % interval", loc="left", fontsize="medium"
)
ax.grid(axis="y", color="0.94")
for side in ("top", "right"):
    ax.spines[side].set_visible(False)

# %%
# Longer meta-training does better, and a closed-form head (``"ridge"``) far better on this family:
# ``benchmarks/RESULTS.md`` has the table.
