"""Data sets to learn from and to try things on, loaded in scikit-learn's manner."""

from metaest.datasets._clinc150 import fetch_clinc150
from metaest.datasets._omniglot import fetch_omniglot, fetch_omniglot_oneshot_runs
from metaest.datasets._toy import load_digit_tasks, make_sinusoid_tasks

__all__ = [
    "fetch_clinc150",
    "fetch_omniglot",
    "fetch_omniglot_oneshot_runs",
    "load_digit_tasks",
    "make_sinusoid_tasks",
]
