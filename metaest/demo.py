"""The main job on embedded data, as ``metaest demo`` runs it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.utils import Bunch

from metaest._optional import import_optional
from metaest.datasets import load_digit_tasks
from metaest.exceptions import InvalidParameterError, MetaTrainingWarning
from metaest.few_shot import MetaFewShotClassifier
from metaest.model_selection import EpisodeScores, EpisodicSplit, cross_validate_episodes

__all__ = ["run_demo"]

_NEXT = """\
Next:
  clf.fit_meta(tasks)             on your own tasks: a list of (X, y), or X, y, groups=task_of_row
  clf.fit(X_few, y_few)           then learn a new one; .predict(X), .save("model.safetensors")
  MetaFewShotClassifier("maml")   another learner, of 21: see metaest.learners
  MetaFewShotClassifier().fit(table, labels)
                                  no related tasks at all: a pretrained network reads one table
  cross_validate_episodes(...)    compare any scikit-learn estimators on the same episodes
"""


def run_demo(
    picture: str | Path | None = "metaest_demo.png",
    *,
    n_episodes: int = 640,
    n_test_episodes: int = 200,
    random_state: int = 0,
    say: Callable[[str], Any] = print,
    progress: bool = True,
) -> EpisodeScores:
    """Meta-train on some handwritten digits, then learn the others from one image each.

    Parameters
    ----------
    picture : path or None, default="metaest_demo.png"
        File or folder for the picture; None draws none.
    n_episodes : int, default=640
        Episodes of meta-training.
    n_test_episodes : int, default=200
        Episodes of each estimator's score.
    random_state : int, default=0
        Seeds the initial weights, the held-out tasks and the episodes.
    say : callable, default=print
        Takes each line of text.
    progress : bool, default=True
        Show a progress bar while meta-training.

    Returns
    -------
    EpisodeScores
        The scores of the meta-trained classifier and its baselines, on the same episodes.

    Raises
    ------
    MissingDependencyError
        If a picture is asked for and matplotlib is not installed.
    InvalidParameterError
        If the picture cannot be written: at once where its folder or format does not exist,
        otherwise after the scores.
    """
    if picture is not None:
        import_optional("matplotlib", "plot", "The demo's picture")  # before any work
        picture = _complete(Path(picture))
    digits = load_digit_tasks(test_classes=[5, 6, 7, 8, 9], images=True)
    untrained = MetaFewShotClassifier(
        "protonet",
        n_ways=10,
        n_shots=1,
        n_queries=10,
        n_episodes=n_episodes,
        random_state=random_state,
        verbose=int(progress),
    )
    seen, unseen = (", ".join(map(str, c)) for c in (digits.train_classes, digits.test_classes))
    say(f"Meta-training a prototypical network on the digits {seen}, turned in four directions ...")
    learner = _meta_train(clone(untrained), digits)
    say(f"Learning the digits {unseen}, never seen before, from one image each ...")
    scores = _compare(learner, untrained, digits, n_test_episodes, random_state)
    say(f"\n{scores}\n")
    gain = scores.compare("LogisticRegression")[0]
    say(f"Over LogisticRegression, on the same episodes: {gain}\n")
    try:
        if picture is not None:
            _draw(learner, scores, digits, Path(picture))
            say(f"Picture: {picture}\n")
    finally:
        say(_NEXT)
    return scores


def _meta_train(learner: MetaFewShotClassifier, digits: Bunch) -> MetaFewShotClassifier:
    """Meta-train; Ctrl-C ends the demo, for half a training shows nothing."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "meta-training was interrupted", MetaTrainingWarning)
        try:
            return learner.fit_meta(digits.tasks.with_rotations())
        except MetaTrainingWarning:
            raise KeyboardInterrupt from None


def _complete(path: Path) -> Path:
    """Add the name or the suffix that the path lacks; matplotlib would, and not say so."""
    path = path / "metaest_demo.png" if path.is_dir() else path
    path = path if path.suffix else path.with_suffix(".png")
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    formats = sorted(FigureCanvasAgg.get_supported_filetypes())
    if not path.parent.is_dir():
        raise _cannot_draw(path, "there is no such folder")
    if path.suffix[1:].lower() not in formats:
        raise _cannot_draw(path, f"its format is none of {', '.join(formats)}")
    return path


def _cannot_draw(path: Path, reason: object) -> InvalidParameterError:
    return InvalidParameterError(
        f"the picture cannot be written to {path}: {reason}. Pass another path, or draw none."
    )


def _compare(
    learner: MetaFewShotClassifier,
    untrained: MetaFewShotClassifier,
    digits: Bunch,
    n_episodes: int,
    random_state: int,
) -> EpisodeScores:
    """Score on the same 5-way 1-shot episodes; flat rows, so that all estimators take them."""
    estimators = {
        "metaest protonet": learner.set_params(input_shape=(1, 8, 8)),
        "random features": untrained.set_params(input_shape=(1, 8, 8)),
        "LogisticRegression": LogisticRegression(),
        "1 nearest neighbour": KNeighborsClassifier(1),
    }
    cv = EpisodicSplit(n_episodes, n_ways=5, n_shots=1, n_queries=15, random_state=random_state)
    flat = digits.X_test.reshape(len(digits.X_test), -1)
    return cross_validate_episodes(estimators, flat, digits.y_test, cv=cv, scoring="accuracy")


def _draw(learner: MetaFewShotClassifier, scores: EpisodeScores, digits: Bunch, path: Path) -> None:
    """Draw one episode (support images, queries with predictions) beside the scores."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1.35], squeeze=False)[0]
    support, query = scores.episodes[0]
    support = support[np.argsort(digits.y_test[support])]
    flat = digits.X_test.reshape(len(digits.X_test), -1)
    fitted = clone(learner).fit(flat[support], digits.y_test[support])
    axes = left.subplots(5, 7)
    left.suptitle("Learned from the first column; the rest are its answers")
    for row, index in zip(axes, support, strict=True):
        label = digits.y_test[index]
        own = query[digits.y_test[query] == label][: len(row) - 1]
        answers = [label, *fitted.predict(flat[own])]
        for ax, shown, answer in zip(row, [index, *own], answers, strict=True):
            ax.imshow(digits.X_test[shown, 0], cmap="gray_r")
            ax.set_title(str(answer), color="black" if answer == label else "crimson", fontsize=9)
            ax.axis("off")
    scores.plot(ax=right.subplots())
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise _cannot_draw(path, error) from error
