"""
Compare estimators on the same episodes
=======================================

A few-shot score is a mean over episodes, with an interval. Here four estimators meet the same 200
episodes: digits that the meta-trained one has never seen, one image of each to learn from.
"""

# %%
# Something meta-trained, and its rivals
# --------------------------------------
# Any scikit-learn estimator can take part. Images come as flat rows, so that all of them can read
# them; ``input_shape`` gives our classifier the images back. The rivals are what one would take
# without metaest, and our own network without meta-training.

import matplotlib.pyplot as plt
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from metaest import MetaFewShotClassifier
from metaest.datasets import load_digit_tasks
from metaest.model_selection import (
    AdaptationCurveDisplay,
    EpisodicSplit,
    cross_validate_episodes,
)

digits = load_digit_tasks(test_classes=[5, 6, 7, 8, 9], images=True)
clf = MetaFewShotClassifier(
    "protonet",
    n_ways=10,
    n_shots=1,
    n_queries=10,
    n_episodes=640,
    input_shape=(1, 8, 8),
    random_state=0,
)
estimators = {
    "meta-trained": clf.fit_meta(digits.tasks.with_rotations()),
    "untrained": MetaFewShotClassifier("protonet", input_shape=(1, 8, 8), random_state=0),
    "logistic regression": LogisticRegression(),
    "nearest neighbour": KNeighborsClassifier(1),
}

# %%
# The same episodes for all
# -------------------------
# :class:`~metaest.model_selection.EpisodicSplit` draws them: with an integer as ``random_state`` it
# draws the same ones for every estimator and in every call.

X, y = digits.X_test.reshape(-1, 64), digits.y_test
cv = EpisodicSplit(n_episodes=200, n_ways=5, n_shots=1, n_queries=15, random_state=0)
scores = cross_validate_episodes(estimators, X, y, cv=cv, scoring="accuracy")
scores

# %%
# The spread of the episodes is wide; the mean over 200 of them is known to about a percent.

scores.plot()
plt.gcf().set_size_inches(8, 4)

# %%
# Paired differences
# ------------------
# Episodes differ in difficulty, and all estimators met the same ones. So the difference of two
# estimators is known better than either mean.

scores.compare("logistic regression")

# %%
# Every episode is there to look at: ``to_frame`` has a row for each. The scatter shows what the
# interval of a difference rests on, a pair of scores of each episode.

frame = scores.to_frame().pivot(index="episode", columns="estimator", values="accuracy")
figure, ax = plt.subplots(figsize=(5, 5), layout="constrained")
pairs = frame.groupby(["logistic regression", "meta-trained"]).size().reset_index(name="n")
low = 100 * frame.min(axis=None) - 4
ax.plot([low, 100], [low, 100], color="0.7", linewidth=1, zorder=0)
ax.scatter(
    100 * pairs["logistic regression"],
    100 * pairs["meta-trained"],
    s=14 * pairs["n"],
    color="#0072B2",
    alpha=0.5,
    linewidths=0,
)
share = (frame["meta-trained"] > frame["logistic regression"]).mean()
ax.set(
    xlabel="logistic regression, accuracy (%)",
    ylabel="meta-trained, accuracy (%)",
    xlim=(low, 100),
    ylim=(low, 100),
    aspect="equal",
)
ax.set_title(f"Meta-trained ahead in {100 * share:.0f} % of the episodes", loc="left")
ax.grid(color="0.93")
ax.set_axisbelow(True)
for side in ("top", "right"):
    ax.spines[side].set_visible(False)

# %%
# More images per class
# ---------------------
# What meta-training is worth depends on the shots.
# :class:`~metaest.model_selection.AdaptationCurveDisplay` scores the same estimators with more and
# more of them. A range, ``n_shots=(1, 10)``, would draw the shots of each episode.

cv = EpisodicSplit(n_episodes=50, n_ways=5, n_queries=15, random_state=0)
display = AdaptationCurveDisplay.against_shots(estimators, X, y, cv=cv, scoring="accuracy")

# %%
# Episodes or folds?
# ------------------
# Episodes from these five digits tell about these five. To know about new *classes*, draw the
# classes themselves anew: :class:`~metaest.model_selection.TaskSplit` makes folds over classes (or
# groups), meta-train on one side and run episodes on the other.

import numpy as np

from metaest.model_selection import TaskSplit

all_X = np.concatenate([digits.X_train, digits.X_test])
all_y = np.concatenate([digits.y_train, digits.y_test])
cv = EpisodicSplit(n_episodes=100, n_ways=2, n_shots=1, n_queries=15, random_state=0)
for train, test in TaskSplit(5, random_state=0).split(all_X, all_y):
    one = MetaFewShotClassifier("protonet", n_ways=5, n_shots=1, n_episodes=160, random_state=0)
    one.fit_meta(all_X[train], all_y[train])
    result = cross_validate_episodes(one, all_X[test], all_y[test], cv=cv)
    print(f"new digits {' and '.join(map(str, np.unique(all_y[test])))}: {result.summary()[0]}")
