"""
Learn new classes from one image each
=====================================

Meta-train a prototypical network on five of scikit-learn's handwritten digits; then let it learn
the other five, which it has never seen, from a single image of each.
"""

# %%
# Two disjoint sets of classes
# ----------------------------
# :func:`~metaest.datasets.load_digit_tasks` divides the digits by class. Each image class turned by
# 90, 180 and 270 degrees makes a class of its own, so that there are 20 classes to meta-train on:
# with few classes a network learns these very classes rather than how to tell classes apart.

import matplotlib.pyplot as plt
import numpy as np

from metaest import MetaFewShotClassifier
from metaest.datasets import load_digit_tasks

digits = load_digit_tasks(test_classes=[5, 6, 7, 8, 9], images=True)
tasks = digits.tasks.with_rotations()
print(tasks, "with", len(tasks[0].classes), "classes")

# %%
# Meta-training, once
# -------------------
# Each episode draws 10 of the classes, one image of each to learn from and 10 others of each to be
# scored on. Some classes are held out; the weights that do best on them are kept.

clf = MetaFewShotClassifier(
    "protonet", n_ways=10, n_shots=1, n_queries=10, n_episodes=640, random_state=0
)
clf.fit_meta(tasks)
clf.meta_state_

# %%
# Adaptation, for each new task
# -----------------------------
# ``fit`` gets one image of each new digit. It is quick and may be called again and again: each call
# starts from what ``fit_meta`` learned.

rng = np.random.default_rng(0)
X, y = digits.X_test, digits.y_test
support = [rng.choice(np.flatnonzero(y == digit)) for digit in digits.test_classes]
others = np.setdiff1d(np.arange(len(y)), support)

clf.fit(X[support], y[support])
print(f"{len(others)} other images: {100 * clf.score(X[others], y[others]):.1f} % right")

# %%
# The untrained network is the baseline: the same code without ``fit_meta``.

untrained = MetaFewShotClassifier("protonet", random_state=0).fit(X[support], y[support])
print(f"without fit_meta: {100 * untrained.score(X[others], y[others]):.1f} % right")

# %%
# What it says of images that it has not seen
# -------------------------------------------
# In the first column the images learned from; beside them images of the same digit, with the answer
# and its probability. Wrong answers are red.

n_shown = 9
figure, axes = plt.subplots(
    len(support), n_shown + 1, figsize=(9, 5.2), width_ratios=[1.25, *[1] * n_shown]
)
for row, index in zip(axes, support, strict=True):
    own = rng.choice(others[y[others] == y[index]], n_shown, replace=False)
    probabilities = clf.predict_proba(X[own])
    answers = clf.classes_[probabilities.argmax(axis=1)]
    row[0].imshow(X[index, 0], cmap="gray_r")
    row[0].set_title(f"this is {y[index]}", fontsize=9, color="#0072B2", fontweight="bold")
    for ax, shown, answer, p in zip(row[1:], own, answers, probabilities.max(axis=1), strict=True):
        ax.imshow(X[shown, 0], cmap="gray_r")
        ax.set_title(
            f"{answer} ({100 * p:.0f} %)",
            fontsize=8,
            color="0.25" if answer == y[index] else "#D55E00",
        )
for ax in axes.flat:
    ax.axis("off")
figure.suptitle("Learned from the first column; the rest are the answers", x=0.02, ha="left")
figure.tight_layout(h_pad=0.6)

# %%
# More images, more classes
# -------------------------
# Nothing in ``clf`` is bound to five classes or to one image: here are two to ten images of each of
# the new digits, then one image of each of all ten (five of them were in meta-training). No second
# meta-training is needed.

for n_images in (2, 5, 10):
    rows = np.concatenate(
        [rng.choice(np.flatnonzero(y == digit), n_images, False) for digit in digits.test_classes]
    )
    rest = np.setdiff1d(np.arange(len(y)), rows)
    accuracy = clf.fit(X[rows], y[rows]).score(X[rest], y[rest])
    print(f"{n_images:2} images of each: {100 * accuracy:.1f} % right")

all_X = np.concatenate([digits.X_train, X])
all_y = np.concatenate([digits.y_train, y])
rows = [rng.choice(np.flatnonzero(all_y == digit)) for digit in range(10)]
accuracy = clf.fit(all_X[rows], all_y[rows]).score(all_X, all_y)
print(f"ten classes, one image of each: {100 * accuracy:.1f} % right")

# %%
# Keep it
# -------
# A file of tensors with their names, and parameters as JSON: loading it runs no code.

import tempfile
from pathlib import Path

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "digits.safetensors"
    clf.save(path)
    print(f"{path.stat().st_size / 1000:.0f} kB")
    again = MetaFewShotClassifier.load(path)
assert np.array_equal(again.predict(X), clf.predict(X))

# %%
# Where next
# ----------
# One episode says little: which five images were drawn decides as much as the method.
# :ref:`sphx_glr_auto_examples_plot_2_episodic_validation.py` scores hundreds of them.
