"""
Learn new intents from a few sentences
======================================

An assistant understands banking and cooking. Now it must also book trips and keep a calendar, with
one to five example sentences for each new intent. Meta-train on the old domains, then learn the new
ones.
"""

# %%
# Sentences as rows of numbers
# ----------------------------
# CLINC150 has short queries of 150 intents in ten domains (downloaded once, 2.5 MB). The first five
# domains are the past that we learn from, the other five are new.
#
# :class:`~metaest.text.SentenceEmbedder` turns a sentence into 256 numbers by what its words mean,
# and a principal component analysis turns these so that each column means something of its own.
# That needs no labels: it sees all sentences, but no intent of a new one.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from metaest import MetaFewShotClassifier
from metaest.datasets import fetch_clinc150
from metaest.learners import ProtoNet
from metaest.model_selection import EpisodicSplit, cross_validate_episodes
from metaest.text import SentenceEmbedder

clinc = fetch_clinc150()
old = np.isin(clinc.domain, clinc.domain_names[:5])
features = make_pipeline(SentenceEmbedder(), PCA(random_state=0), Normalizer())
X = features.fit_transform(clinc.text)
X_new, y_new = X[~old], clinc.target[~old]
print(f"{old.sum()} old sentences, {len(X_new)} new ones, {X.shape[1]} columns")

# %%
# Meta-training, once
# -------------------
# A prototypical network with a learned scale of each column: it starts as the nearest class mean
# and learns which columns tell intents apart. ``standardize=False`` keeps the scale that the
# columns have.

clf = MetaFewShotClassifier(
    ProtoNet(metric="diagonal", temperature=0.1),
    backbone="identity",
    standardize=False,
    n_ways=10,
    n_shots=(1, 5),
    n_queries=10,
    n_episodes=800,
    meta_batch_size=8,
    meta_lr=1e-2,
    random_state=0,
)
clf.fit_meta(X[old], clinc.target[old])

# %%
# One sentence for each new intent
# --------------------------------
# ``fit`` takes the 15 intents of the domain "travel" at once, although an episode had 10.

rng = np.random.default_rng(0)
travel = np.unique(clinc.target[clinc.domain == "travel"])
support = [rng.choice(np.flatnonzero(y_new == intent)) for intent in travel]
clf.fit(X_new[support], y_new[support])

questions = ["do i need shots before i go to kenya", "my suitcase never arrived in oslo"]
probabilities = clf.predict_proba(features.transform(questions))
for question, p in zip(questions, probabilities, strict=True):
    print(f"{question!r}: {clf.classes_[p.argmax()]} ({100 * p.max():.0f} %)")

# %%
# How much that gains
# -------------------
# :func:`~metaest.model_selection.cross_validate_episodes` repeats this with other examples and
# gives every method the same ones: each time five of the 75 new intents. Both methods see the same
# columns, so the difference is what meta-training gains.

methods = {"logistic regression": LogisticRegression(), "meta-trained": clf}
shots = [1, 2, 3, 5]
results = [
    cross_validate_episodes(
        methods,
        X_new,
        y_new,
        cv=EpisodicSplit(200, n_ways=5, n_shots=n, n_queries=15, random_state=0),
    )
    for n in shots
]
results[0].compare("logistic regression")

# %%

figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for name, color, marker in (("meta-trained", "#0072B2", "o"), ("logistic regression", "0.45", "s")):
    own = [next(row for row in r.summary() if row.estimator == name) for r in results]
    means, half_widths = 100 * np.array([(row.mean, row.half_width) for row in own]).T
    ax.errorbar(shots, means, half_widths, color=color, marker=marker, capsize=3, label=name)
ax.legend(frameon=False, loc="lower right")
ax.set_xticks(shots)
ax.set_xlabel("example sentences of each intent")
ax.set_ylabel("accuracy, %")
ax.set_title("Five new intents of CLINC150", loc="left")
ax.spines[["top", "right"]].set_visible(False)

# %%
# Meta-training gains with a single example. From two on, the examples say enough by themselves, and
# logistic regression is a little ahead.
