"""
Write a learner of your own
===========================

A learner is a parameter object and two functions on tensors: ``adapt`` makes a small state of the
support sets of B tasks, ``predict`` maps states and query rows to logits. Everything else comes
with :class:`~metaest.few_shot.MetaFewShotClassifier`: meta-training, ``clone``, pipelines, saving.
The one below is 60 lines. :func:`metaest.testing.check_learner` says whether it keeps the contract.
"""

# %%
# The method
# ----------
# Prototypical networks measure all features alike. Ours trusts a feature less where the rows of
# a class spread more in it: with the variance :math:`v_j` of feature j within the classes of the
# support set, the squared distance along it is divided by :math:`(v_j + \epsilon)^p`. The power p
# and the floor :math:`\epsilon` are meta-learned. With p = 0 it is a prototypical network.

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from metaest import MetaFewShotClassifier
from metaest.learners import Learner
from metaest.model_selection import EpisodicSplit, cross_validate_episodes
from metaest.testing import check_learner


class SpreadNet(Learner):
    """Nearest class mean, in units of the spread within classes.

    Parameters
    ----------
    power : float, default=0.5
        Starting value of p.
    """

    def __init__(self, *, power=0.5):
        self.power = power

    def _add_parameters(self, module, n_features, spec, rng):
        """Add the learner's own weights to the network, whose backbone is `module.embedding`."""
        module.power = nn.Parameter(torch.tensor(float(self.power)))
        module.log_floor = nn.Parameter(torch.tensor(0.0))
        module.log_temperature = nn.Parameter(torch.tensor(float(np.log(n_features**0.5))))

    def adapt(self, module, support):
        """Give the class means and the weight of each feature, for B tasks at once."""
        features = embed(module, support.x)  # (B, S, d)
        n_classes = support.class_mask.shape[1]
        members = nn.functional.one_hot(support.y, n_classes) * support.mask.unsqueeze(-1)
        members = members.to(features.dtype)  # (B, S, C), zero in padded rows
        counts = members.sum(1).clamp(min=1).unsqueeze(-1)  # (B, C, 1)
        means = members.transpose(1, 2) @ features / counts  # (B, C, d)
        spread = (features - members @ means).square() * support.mask.unsqueeze(-1)
        n_rows = support.mask.sum(1).to(features.dtype)[:, None]  # (B, 1)
        variance = spread.sum(1) / n_rows  # (B, d)
        weights = (variance + module.log_floor.exp()) ** -module.power
        return {"means": means, "weights": weights, "class_mask": support.class_mask}

    def predict(self, module, state, query_x):
        """Give the logits of query rows; classes that a task does not have get none."""
        scale = state["weights"].sqrt().unsqueeze(1)  # (B, 1, d)
        a, b = embed(module, query_x) * scale, state["means"] * scale
        norms = a.square().sum(-1).unsqueeze(2) + b.square().sum(-1).unsqueeze(1)
        logits = (2 * a @ b.transpose(1, 2) - norms) / module.log_temperature.exp()
        return logits.masked_fill(~state["class_mask"].unsqueeze(1), -1e4)  # (B, Q, C)


def embed(module, x):
    """Run the rows of B tasks through the backbone: (B, n, ...) -> (B, n, d)."""
    return module.embedding(x.flatten(0, 1)).unflatten(0, x.shape[:2])


# %%
# Does it keep the contract?
# --------------------------
# Padding, the order of rows, the names of classes, other tasks in the batch: none of them may
# change a result. The suite also compares the meta-gradient with finite differences, saves and
# loads, and asks whether meta-training beats an untrained copy. It raises at the first check
# that fails, and says what is wrong.

passed = check_learner(SpreadNet())
print(len(passed), "checks passed, among them", ", ".join(name[6:-16] for name in passed[3:6]))

# %%
# A mistake, for comparison: without the mask, padded rows count as rows of class 0.


class ForgetsTheMask(SpreadNet):
    """The same, but for one line that everybody forgets once."""

    def adapt(self, module, support):
        """Take padded rows for real ones."""
        everything = type(support)(
            support.x, support.y, torch.ones_like(support.mask), support.class_mask
        )
        return super().adapt(module, everything)


try:
    check_learner(ForgetsTheMask())
except AssertionError as error:
    print(str(error).splitlines()[0])

# %%
# In use
# ------
# As an object in place of a learner's name: meta-trained on seven digits, tested on the other
# three with five rows each, beside the prototypical network.

X, y = load_digits(return_X_y=True)
seen = y < 7
cv = EpisodicSplit(200, n_ways=3, n_shots=5, n_queries=10, random_state=0)
results = {}
for learner in (SpreadNet(), "protonet"):
    clf = MetaFewShotClassifier(learner, n_ways=4, n_episodes=400, random_state=0)
    clf.fit_meta(X[seen], y[seen])
    name = learner if isinstance(learner, str) else type(learner).__name__
    results[name] = cross_validate_episodes(clf, X[~seen], y[~seen], cv=cv, scoring="accuracy")
    print(f"{name:10}", results[name].summary()[0])

# %%
# One of 200 points per episode, the two learners on the same ones:

fig, ax = plt.subplots(figsize=(4.5, 4))
own, proto = (results[name].to_frame()["accuracy"] for name in ("SpreadNet", "protonet"))
jitter = np.random.default_rng(0).normal(scale=0.004, size=(2, len(own)))
ax.plot([0.5, 1], [0.5, 1], color="0.7", linewidth=1)
ax.scatter(proto + jitter[0], own + jitter[1], s=12, alpha=0.5)
ax.set(xlabel="accuracy, protonet", ylabel="accuracy, SpreadNet", title="200 episodes")
fig.tight_layout()
