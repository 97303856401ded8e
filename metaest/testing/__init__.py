"""Checks of learners that others write."""

from __future__ import annotations

from metaest.testing._episodes import Episode, collate, make_episode, uneven_episodes
from metaest.testing._learning import check_learning, toy_tasks
from metaest.testing._suite import CHECKS, check_learner, learner_checks

__all__ = [
    "CHECKS",
    "Episode",
    "check_learner",
    "check_learning",
    "collate",
    "learner_checks",
    "make_episode",
    "toy_tasks",
    "uneven_episodes",
]
