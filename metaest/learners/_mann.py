"""Memory-augmented neural networks."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metaest._sklearn import Interval, StrOptions
from metaest._torch import local_seed, mask_logits
from metaest.episodes import EpisodeBatch, Support
from metaest.learners._base import Learner, LearnerNet, State, masked_mean, one_hot, row_losses
from metaest.learners._constraints import SIZE
from metaest.learners._execute import encode
from metaest.learners._memory import (
    Reading,
    empty_memory,
    labels_held,
    read_memory,
    write_memory,
)
from metaest.learners._sequence import SequencePrediction, instance_numbers, mixed_order
from metaest.nets import NetSpec


class MANN(Learner):
    r"""Read the support rows one after another and write them to an external memory.

    At each row a controller, an LSTM, makes a key from the features, attends to the memory by
    cosine similarity and predicts from what it finds. Then the label is shown, and the pair is
    written to where the controller looked or to the least recently used place, as a learned gate
    decides that also sees whether the vote was right. `fit` writes the support rows in their order;
    a query row only reads.

    Labels have columns of their own in the memory, one for each class of the task, and the
    prediction is read from these:

    .. math:: p(y = k \mid x_t) \propto
        v_{tk} + \bigl(1 - \textstyle\sum_j v_{tj}\bigr) u_{tk} + \epsilon,

    with the labels :math:`v_t` that the read found, :math:`u_t` uniform over the classes that
    the memory does not hold, for a look at unused places means a new class, and a learned
    :math:`\epsilon`. The paper shows the
    controller the previous label as one-hot numbers and has an output for each; here the
    controller is told how much of the previous vote was right. So classes are alike, their names
    do not matter, and any number of them can come at `fit`.

    Parameters
    ----------
    controller : {"lstm", "feedforward"}, default="lstm"
    n_slots : int, default=128
        Places of the memory. Of a longer support set the least recently used rows are forgotten.
    width : int, default=None
        Length of a key; None: that of the features. In fewer dimensions, similarities start less
        exact than those of the features.
    n_hidden : int, default=64
        Units of the controller (the paper has 200).
    decay : float, default=0.99
        How slowly the use of a place is forgotten, :math:`\gamma`.

    References
    ----------
    Santoro et al., Meta-Learning with Memory-Augmented Neural Networks, ICML 2016.
    Graves, Wayne and Danihelka, Neural Turing Machines, arXiv:1410.5401, 2014.

    Examples
    --------
    >>> from metaest import MetaFewShotClassifier
    >>> clf = MetaFewShotClassifier("mann", random_state=0)
    >>> clf.fit([[0.0, 1.0], [4.0, 0.0]], ["up", "right"]).predict([[3.0, 0.5]])
    array(['right'], dtype='<U5')
    """

    order_matters = True
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "controller": [StrOptions({"lstm", "feedforward"})],
        "n_slots": [SIZE],
        "width": [SIZE, None],
        "n_hidden": [SIZE],
        "decay": [Interval(Real, 0, 1, closed="both")],
    }

    def __init__(
        self,
        *,
        controller: Literal["lstm", "feedforward"] = "lstm",
        n_slots: int = 128,
        width: int | None = None,
        n_hidden: int = 64,
        decay: float = 0.99,
    ) -> None:
        self.controller = controller
        self.n_slots = n_slots
        self.width = width
        self.n_hidden = n_hidden
        self.decay = decay

    def _add_parameters(
        self, module: LearnerNet, n_features: int, spec: NetSpec, rng: np.random.Generator
    ) -> None:
        width = n_features if self.width is None else self.width
        n_units = self.n_hidden * (4 if self.controller == "lstm" else 1)
        with local_seed(rng):
            module.project = nn.Linear(n_features, width, bias=False)
            nn.init.orthogonal_(module.project.weight)  # similarities stay as they are
            module.controller = nn.Linear(2 * width + 1 + self.n_hidden, n_units)
            module.control = nn.Linear(self.n_hidden, width + 3)
        with torch.no_grad():
            module.control.weight.mul_(0.1)
            module.control.bias.zero_()
        # Starts: strength 10, novelty 0, and a write goes to the place that was read if its vote
        # was right.
        module.log_strength = nn.Parameter(torch.tensor(10.0).log())
        module.gate = nn.Parameter(torch.tensor([-4.0, 4.0]))
        module.log_floor = nn.Parameter(torch.tensor(0.01).log())

    def adapt(self, module: LearnerNet, support: Support) -> State:
        assert support.class_mask is not None
        features = encode(module.embedding, support.x)  # (B, S, d)
        state = self._start(module, features, support.class_mask)
        labels = one_hot(support.y, support.mask, support.class_mask.shape[1], features.dtype)
        return self._read_sequence(module, state, features, labels, support.mask)[1]

    def predict(self, module: LearnerNet, state: State, query_x: Tensor) -> Tensor:
        step = self._step(module, state, encode(module.embedding, query_x))
        held = labels_held(state).unsqueeze(1)  # (B, 1, C)
        return _logits(module, step.reading.votes, held, state["class_mask"])

    def meta_loss(self, module: LearnerNet, batch: EpisodeBatch) -> Tensor:
        prediction = self.predict_sequence(module, batch)
        losses = row_losses(prediction.logits, prediction.y)
        return masked_mean(losses, prediction.mask).mean()

    def predict_sequence(self, module: LearnerNet, batch: EpisodeBatch) -> SequencePrediction:
        """Predict the support and query rows one after another, each before its label is shown.

        The order mixes the rows, and is always the same for the same episode.

        Parameters
        ----------
        module : LearnerNet
        batch : EpisodeBatch

        Returns
        -------
        SequencePrediction
            Of T = S + Q rows.
        """
        assert batch.class_mask is not None
        order, mask = mixed_order(batch)
        y = torch.cat([batch.support_y, batch.query_y], 1).gather(1, order)  # (B, T)
        features = torch.cat(
            [encode(module.embedding, x) for x in (batch.support_x, batch.query_x)], 1
        )
        features = features.gather(1, order.unsqueeze(-1).expand_as(features))  # (B, T, d)
        labels = one_hot(y, mask, batch.class_mask.shape[1], features.dtype)
        state = self._start(module, features, batch.class_mask)
        logits, _ = self._read_sequence(module, state, features, labels, mask)
        return SequencePrediction(logits, y, mask, instance_numbers(labels))

    def _start(self, module: LearnerNet, like: Tensor, class_mask: Tensor) -> State:
        """Return the state before the first row."""
        n_tasks, n_classes = class_mask.shape
        zeros, width = like.new_zeros, module.project.out_features
        return empty_memory(n_tasks, self.n_slots, width, n_classes, like) | {
            "hidden": zeros(n_tasks, self.n_hidden),
            "cell": zeros(n_tasks, self.n_hidden),
            "content": zeros(n_tasks, width),
            "right": zeros(n_tasks, 1),
            "class_mask": class_mask,
        }

    def _read_sequence(
        self, module: LearnerNet, state: State, features: Tensor, labels: Tensor, mask: Tensor
    ) -> tuple[Tensor, State]:
        """Predict and write row after row; return the logits (B, T, C) and the last state."""
        votes, held = [], []
        for t in range(features.shape[1]):
            step = self._step(module, state, features[:, t : t + 1])
            votes.append(step.reading.votes)  # (B, 1, C)
            held.append(labels_held(state))  # (B, C)
            state = self._write(module, state, step, labels[:, t], mask[:, t])
        class_mask = state["class_mask"]
        return _logits(module, torch.cat(votes, 1), torch.stack(held, 1), class_mask), state

    def _step(self, module: LearnerNet, state: State, features: Tensor) -> _Step:
        """Let each of n rows (B, n, d) read the memory, from the same state."""
        projected = module.project(features)  # (B, n, W)
        previous = torch.cat([state["content"], state["right"], state["hidden"]], -1)
        previous = previous.unsqueeze(1).expand(-1, features.shape[1], -1)
        units = module.controller(torch.cat([F.normalize(projected, dim=-1), previous], -1))
        if self.controller == "lstm":
            i, f, g, o = units.chunk(4, -1)  # (B, n, H) each
            kept = (f + 1).sigmoid() * state["cell"].unsqueeze(1)
            cell = kept + i.sigmoid() * g.tanh()
            hidden = o.sigmoid() * cell.tanh()
        else:
            cell, hidden = torch.zeros_like(units), units.tanh()
        change, controls = module.control(hidden).split([projected.shape[-1], 3], -1)
        strength, novelty, gate = controls.split(1, -1)  # (B, n, 1) each
        key = F.normalize(F.normalize(projected, dim=-1) + change, dim=-1)
        reading = read_memory(state, key, (module.log_strength + strength).exp(), novelty)
        return _Step(hidden, cell, key, gate, reading)

    def _write(
        self, module: LearnerNet, state: State, step: _Step, label: Tensor, mask: Tensor
    ) -> State:
        """Show the label (B, C) of the row that was read last, and write the pair."""
        reading = step.reading
        right = (reading.votes[:, 0] * label).sum(-1, keepdim=True)  # (B, 1)
        gate = step.gate[:, 0] + module.gate[0] + 2 * module.gate[1] * right
        memory = write_memory(
            state, step.key[:, 0], label, reading.weights[:, 0], gate.sigmoid(), self.decay, mask
        )
        new = {
            "hidden": step.hidden[:, 0],
            "cell": step.cell[:, 0],
            "content": reading.content[:, 0],
            "right": right,
        }
        real = mask.unsqueeze(1)
        return state | memory | {k: torch.where(real, v, state[k]) for k, v in new.items()}


class _Step(NamedTuple):
    """What the controller made of n rows of each task."""

    hidden: Tensor  # (B, n, H)
    cell: Tensor  # (B, n, H)
    key: Tensor  # (B, n, W)
    gate: Tensor  # (B, n, 1)
    reading: Reading


def _logits(module: LearnerNet, votes: Tensor, held: Tensor, class_mask: Tensor) -> Tensor:
    """From votes and what the memory holds, (B, n, C) each, to logits (B, n, C)."""
    unseen = (1 - held) * class_mask.unsqueeze(1)
    unseen = unseen / unseen.sum(-1, keepdim=True).clamp(min=1)
    rest = 1 - votes.sum(-1, keepdim=True)
    return mask_logits((votes + rest * unseen + module.log_floor.exp()).log(), class_mask)
