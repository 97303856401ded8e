"""
Ten labelled rows, and nothing else
===================================

No related tasks, no tuning, ten rows with a label: the default
:class:`~metaest.few_shot.MetaFewShotClassifier` reads them with a network that was pretrained on
synthetic tables and comes with the package, and lets a logistic regression and a forest vote beside
it.
"""

# %%
# A table as it comes
# -------------------
# Strings, categories and gaps need no preparation.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from metaest import MetaFewShotClassifier

patients = pd.DataFrame(
    {
        "age": [71, 64, 58, None, 33, 41, 29, 52, 67, 38],
        "smokes": ["yes", "yes", "no", "yes", "no", "no", None, "no", "yes", "no"],
        "ward": pd.Categorical(list("AABACBCBAC")),
        "pressure": [162, 155, 149, 158, 118, 125, 121, None, 151, 119],
    }
)
outcome = ["back", "back", "back", "back", "well", "well", "well", "well", "back", "well"]
clf = MetaFewShotClassifier().fit(patients, outcome)
new = pd.DataFrame(
    {"age": [60, 35], "smokes": ["yes", None], "ward": ["A", "D"], "pressure": [150, 117]}
)
print(pd.DataFrame(clf.predict_proba(new), columns=clf.classes_).round(2))

# %%
# The ward "D" was not seen before: it counts as missing. What the network is, where it comes from
# and under which licence:

print(clf.meta_state_.source, dict(clf.meta_state_.versions))

# %%
# Against the usual suspects
# --------------------------
# Three data sets of scikit-learn, 10 to 80 labelled rows drawn four times each, and 200
# others to test on. Area under the ROC curve, and the logarithmic loss of the probabilities.

models = {
    "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)),
    "random forest": RandomForestClassifier(random_state=0),
    "metaest": MetaFewShotClassifier(),
}
sizes, rows = (10, 20, 40, 80), []
for load in (load_iris, load_wine, load_breast_cancer):
    X, y = load(return_X_y=True)
    for size in sizes:
        for seed in range(4):
            order = np.random.default_rng([seed, size]).permutation(len(y))
            first = [order[y[order] == label][:2] for label in np.unique(y)]  # two of each class
            train = np.concatenate([*first, np.setdiff1d(order, np.concatenate(first), True)])
            train, test = train[:size], train[size:][:200]
            for name, model in models.items():
                shares = clone(model).fit(X[train], y[train]).predict_proba(X[test])
                scores = shares[:, 1] if shares.shape[1] == 2 else shares
                rows.append(
                    {
                        "data": load.__name__.removeprefix("load_"),
                        "rows": size,
                        "model": name,
                        "area": roc_auc_score(y[test], scores, multi_class="ovo"),
                        "loss": log_loss(y[test], shares),
                    }
                )
table = pd.DataFrame(rows)
means = table.groupby(["rows", "model"])[["area", "loss"]].mean().unstack("model")
print(means.round(3).to_string())

# %%

fig, axes = plt.subplots(1, 2, figsize=(9, 3.8))
for ax, metric, label in zip(
    axes, ("area", "loss"), ("area under the curve", "logarithmic loss"), strict=True
):
    for name, style in zip(models, ("o--", "s--", "o-"), strict=True):
        ax.plot(sizes, means[metric, name], style, label=name)
    ax.set(xscale="log", xlabel="labelled rows", ylabel=label)
    ax.set_xticks(sizes, [str(size) for size in sizes])
    ax.minorticks_off()
axes[0].legend()
fig.suptitle("Mean of three data sets, four draws each")
fig.tight_layout()
