"""Tasks: small data sets that a learner learns from, one after another."""

from metaest.tasks._convert import as_task_set
from metaest.tasks._task import Task
from metaest.tasks._task_set import TaskSet

__all__ = ["Task", "TaskSet", "as_task_set"]
