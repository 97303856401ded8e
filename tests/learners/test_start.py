"""Heads in closed form that learned networks add to: prototypes and ridge regression."""

import numpy as np
import torch
from sklearn.linear_model import Ridge

from metaest.learners import LearnerNet, ProtoNet
from metaest.learners._head import apply_head
from metaest.learners._start import add_start, start_head
from metaest.nets import NetSpec
from tests.episode_helpers import build, collate, make_episode, predict


def _module(kind: str) -> LearnerNet:
    module = LearnerNet()
    add_start(module, 3, NetSpec((3,), kind, 20))
    return module.double()


def test_classes_start_as_a_prototypical_network() -> None:
    batch = collate([make_episode(shots=(3, 1, 2))])
    module, plain = _module("classification"), build(ProtoNet(), backbone="identity")
    for log_temperature in (None, 0.9):  # as both start, then another
        if log_temperature is not None:
            with torch.no_grad():
                module.log_temperature.fill_(log_temperature)
                plain.log_temperature.fill_(log_temperature)
        head = start_head(module, batch.support_x, batch.support)
        found = apply_head(batch.query_x, **head, class_mask=batch.class_mask).log_softmax(-1)
        expected = predict(ProtoNet(), plain, batch)
        torch.testing.assert_close(found.detach(), expected, rtol=1e-6, atol=1e-6)


def test_numbers_start_as_ridge_regression() -> None:
    episode = make_episode("regression", shots=(9,), n_queries=5)
    batch, module = collate([episode], extra=(2, 0, 0), garbage=True), _module("regression")
    with torch.no_grad():
        module.log_penalty.fill_(0.4)
        head = start_head(module, batch.support_x, batch.support)
        found = apply_head(batch.query_x, **head, class_mask=None).mean[0]
    rows = (episode.support_x, episode.query_x)
    x, query = (np.c_[part / np.sqrt(3), np.ones(len(part))] for part in rows)
    ridge = Ridge(alpha=np.exp(0.4), fit_intercept=False).fit(x, episode.support_y)
    np.testing.assert_allclose(found, ridge.predict(query), rtol=1e-9)
