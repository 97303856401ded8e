"""
Related tables
==============

A retailer has many shops, and a table of customers for each: text, gaps, and columns that only
some shops have. Who will come back? In every shop it is a matter of age, but for members the other
way round. Twenty labelled customers of one shop are too few to see that; the tables of other shops
tell.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier

from metaest import MetaFewShotClassifier

# %%
# The shops
# ---------


def draw_shop(seed: int, n_customers: int = 80) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the customers of a shop, and whether they came back."""
    rng = np.random.default_rng(seed)
    old, card = rng.normal(size=n_customers), rng.choice(["none", "member", "guest"], n_customers)
    table = pd.DataFrame({"age": 45 + 15 * old, "card": card})
    table["visits"] = np.where(rng.random(n_customers) < 0.3, np.nan, rng.poisson(4, n_customers))
    for number in range(seed % 3):
        table[f"shelf {number}"] = rng.normal(size=n_customers)
    return table, np.where((old > 0) ^ (card == "member"), "came back", "did not")


shops = [draw_shop(seed) for seed in range(40)]
print(shops[1][0].head(3).to_string())

# %%
# Learning from them
# ------------------
#
# Such tables are read by the pretrained in-context network. ``fit_meta`` goes on training it, and
# keeps the weights that do best on shops that it holds out.

clf = MetaFewShotClassifier(
    n_ways=2, n_shots=(5, 15), n_queries=(1, 8), n_episodes=1200, random_state=0
)
clf.fit_meta(shops)

# %%
# A new shop
# ----------

new_shops = [draw_shop(seed) for seed in range(1000, 1012)]
sizes = [10, 20, 40]


def forest() -> RandomForestClassifier:
    """Return the forest to compare with; it needs numbers."""
    return RandomForestClassifier(random_state=0)


def accuracies(make) -> list[float]:
    """Return the mean accuracy on new shops for each number of labelled customers."""
    means = []
    for n in sizes:
        scores = []
        for X, y in new_shops:
            X = X.assign(card=X["card"].astype("category").cat.codes) if make is forest else X
            scores.append(make().fit(X[:n], y[:n]).score(X[40:], y[40:]))
        means.append(np.mean(scores))
    return means


curves = {
    "meta-trained on other shops": accuracies(lambda: clf),
    "the pretrained network": accuracies(MetaFewShotClassifier),
    "random forest": accuracies(forest),
}
for name, values in curves.items():
    print(f"{name:28s}", " ".join(f"{value:.2f}" for value in values))
    plt.plot(sizes, values, marker="o", label=name)
plt.xscale("log")
plt.xticks(sizes, sizes)
plt.gca().minorticks_off()
plt.xlabel("labelled customers of the new shop")
plt.ylabel("accuracy")
plt.legend()
plt.tight_layout()
plt.show()
