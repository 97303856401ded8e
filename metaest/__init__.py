"""Meta-learning with scikit-learn estimators.

A *task* is a small data set; an *episode* splits it into a support set and a query set; a *learner*
maps the support set and the query inputs to predictions. Few-shot estimators, episodic
cross-validation and warm-started tuning are built on that sentence.

Names are loaded on first use, so ``import metaest`` alone costs nothing: no torch, no scikit-learn.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metaest.few_shot import MetaFewShotClassifier, MetaFewShotRegressor

__version__ = "0.1.0"

__all__ = ["MetaFewShotClassifier", "MetaFewShotRegressor", "__version__"]

_CLASSES = {
    "MetaFewShotClassifier": "metaest.few_shot",
    "MetaFewShotRegressor": "metaest.few_shot",
}
_SUBMODULES = frozenset(
    {
        "augment",
        "datasets",
        "episodes",
        "exceptions",
        "few_shot",
        "inspection",
        "learners",
        "meta_features",
        "model_selection",
        "nets",
        "openml",
        "persistence",
        "pretrained",
        "tasks",
        "testing",
        "text",
        "training",
        "tuning",
    }
)


def __getattr__(name: str) -> Any:
    """Import a public class or submodule when it is first asked for (PEP 562)."""
    if name in _CLASSES:
        value = getattr(import_module(_CLASSES[name]), name)
        globals()[name] = value
        return value
    if name in _SUBMODULES:
        return import_module(f"metaest.{name}")
    raise AttributeError(f"module 'metaest' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__, *_SUBMODULES})
