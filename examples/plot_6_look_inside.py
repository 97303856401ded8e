"""
Look inside
===========

What did meta-training change? Two pictures answer: the features of a task before and after, and the
score against what there is to adapt with, steps or shots.
"""

# %%
# Many classes that differ in few directions
# ------------------------------------------
# Rows of 24 columns. Classes differ in 4 directions of that space, and rows vary more in the other
# 20. No column alone shows it, since the directions are turned at random. One small task does not
# tell which directions matter; many tasks that share them do.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression

from metaest import MetaFewShotClassifier
from metaest.inspection import EmbeddingDisplay
from metaest.learners import MAML
from metaest.model_selection import AdaptationCurveDisplay, EpisodicSplit

rng = np.random.default_rng(0)
turn = np.linalg.qr(rng.normal(size=(24, 24)))[0]


def draw_classes(n_classes):
    """Draw 40 rows of each class."""
    y = np.repeat(np.arange(n_classes), 40)
    rows = rng.normal(scale=np.r_[[0.4] * 4, [1.2] * 20], size=(len(y), 24))
    rows[:, :4] += rng.normal(size=(n_classes, 4))[y]
    return rows @ turn, y


X_many, y_many = draw_classes(100)  # to meta-train on
X, y = draw_classes(20)  # new classes

# %%
# The features, before and after
# ------------------------------
# One episode: five of the new classes, three rows of each to learn from. Untrained, the network
# starts as the identity, and its features are the rows. ``embed`` gives the features,
# :class:`~metaest.inspection.EmbeddingDisplay` draws the two directions in which they vary most.

settings = {"n_ways": 10, "n_shots": 1, "n_episodes": 1600, "meta_lr": 3e-3, "random_state": 0}
untrained = MetaFewShotClassifier("protonet", **settings)
protonet = MetaFewShotClassifier("protonet", **settings).fit_meta(X_many, y_many)

cv = EpisodicSplit(n_episodes=1, n_shots=3, n_queries=30, random_state=0)
support, query = next(cv.split(X, y))
task = (X[support], y[support], X[query], y[query])

figure, axes = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
EmbeddingDisplay.from_estimator(untrained, *task, ax=axes[0], legend=False)
after = EmbeddingDisplay.from_estimator(protonet, *task, ax=axes[1])
for ax, name in zip(axes, ("before", "after"), strict=True):
    ax.set_title(f"{name}: {ax.get_title(loc='left')}", loc="left", fontsize="medium")

# %%
# Before, the first two components have a small share of the variance, and the classes overlap.
# After, most of the variance is *between* the classes, which the network has never seen. The points
# are there to go on with:

after.to_frame().groupby("part").head(2)

# %%
# Score against steps
# -------------------
# How much does adaptation itself do? MAML takes gradient steps on the support rows, and their
# number may change after meta-training: ``learner__inner_steps``. A head that starts at zero knows
# nothing before the first step. A head that starts at the prototypes (Proto-MAML) is as good
# without a step as with ten: what meta-training learned here is the features, and the steps add
# nothing to them (:class:`~metaest.learners.ANIL` makes a method of it). Without meta-training, the
# steps do not find such features either.

settings = {"n_episodes": 1600, "meta_lr": 3e-3, "random_state": 0}
maml = MAML(inner_steps=3, inner_lr=0.05)
proto_maml = MAML(inner_steps=3, inner_lr=0.02, head="prototype")
estimators = {
    "Proto-MAML": MetaFewShotClassifier(proto_maml, **settings).fit_meta(X_many, y_many),
    "MAML": MetaFewShotClassifier(maml, **settings).fit_meta(X_many, y_many),
    "MAML without meta-training": MetaFewShotClassifier(maml, **settings),
}
cv = EpisodicSplit(n_episodes=100, n_ways=5, n_shots=5, random_state=0)
display = AdaptationCurveDisplay.against_steps(
    estimators, X, y, steps=(0, 1, 2, 3, 5, 7, 10), cv=cv, scoring="accuracy"
)
display.ax_.set_ylim(0, 100)

# %%
# Score against shots
# -------------------
# Any estimator can be in this one. Logistic regression has to find the directions anew in each
# task, from its few rows: it catches up as there are more.

estimators = {
    "prototypical network": protonet,
    "without meta-training": untrained,
    "logistic regression": LogisticRegression(),
}
display = AdaptationCurveDisplay.against_shots(
    estimators, X, y, shots=(1, 2, 5, 10, 20), cv=cv, scoring="accuracy"
)
display.ax_.set_ylim(0, 100)

# %%
# The numbers, with their intervals:

display.to_frame()
