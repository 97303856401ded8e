"""Episodic cross-validation: any estimator, the same episodes, a mean with its interval."""

from metaest.model_selection._curve import AdaptationCurveDisplay
from metaest.model_selection._display import EpisodeScoresDisplay
from metaest.model_selection._estimate import Estimate, EstimateTable
from metaest.model_selection._result import EpisodeScores
from metaest.model_selection._split import EpisodicSplit
from metaest.model_selection._task_split import TaskSplit
from metaest.model_selection._validation import cross_validate_episodes

__all__ = [
    "AdaptationCurveDisplay",
    "EpisodeScores",
    "EpisodeScoresDisplay",
    "EpisodicSplit",
    "Estimate",
    "EstimateTable",
    "TaskSplit",
    "cross_validate_episodes",
]
