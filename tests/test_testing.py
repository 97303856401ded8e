"""The public suite finds what is wrong with a learner."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from metaest.episodes import EpisodeBatch, Support
from metaest.exceptions import InvalidParameterError
from metaest.learners import LearnerNet, ProtoNet, State
from metaest.testing import check_learner, check_learning, learner_checks


class ForgetsPadding(ProtoNet):
    def adapt(self, module: LearnerNet, support: Support) -> State:
        everything = torch.ones_like(support.mask)
        return super().adapt(module, Support(support.x, support.y, everything, support.class_mask))


class MixesQueries(ProtoNet):
    def predict(self, module: LearnerNet, state: State, query_x: Tensor) -> Tensor:
        return super().predict(module, state, query_x - query_x.mean(1, keepdim=True))


class PrefersTheFirstClass(ProtoNet):
    def predict(self, module: LearnerNet, state: State, query_x: Tensor) -> Tensor:
        logits = super().predict(module, state, query_x)
        return logits + torch.nn.functional.pad(torch.ones(1), (0, logits.shape[-1] - 1))


class KeepsAView(ProtoNet):
    def adapt(self, module: LearnerNet, support: Support) -> State:
        rate = module.log_temperature.detach().expand(len(support))
        return super().adapt(module, support) | {"temperature": rate}


class SumsTheLoss(ProtoNet):
    def meta_loss(self, module: LearnerNet, batch: EpisodeBatch) -> Tensor:
        return super().meta_loss(module, batch) * len(batch)


class StopsGradients(ProtoNet):
    def adapt(self, module: LearnerNet, support: Support) -> State:
        return {name: value.detach() for name, value in super().adapt(module, support).items()}


class Unlearns(ProtoNet):
    def meta_loss(self, module: LearnerNet, batch: EpisodeBatch) -> Tensor:
        return -super().meta_loss(module, batch)


@pytest.mark.parametrize(
    ("learner", "check"),
    [
        (ForgetsPadding(), "check_padding_changes_nothing"),
        (MixesQueries(), "check_query_rows_one_at_a_time_equal_together"),
        (PrefersTheFirstClass(), "check_labels_are_only_names"),
        (KeepsAView(), "check_state_does_not_change_with_the_weights"),
        (SumsTheLoss(), "check_tasks_together_equal_tasks_alone"),
        (StopsGradients(), "check_meta_gradient_is_the_derivative"),
        (Unlearns(), "check_learning"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_each_defect_is_found(learner: ProtoNet, check: str) -> None:
    found: dict[str, Callable[[], None]] = dict(learner_checks(learner))
    with pytest.raises(AssertionError):
        found[f"{check}[classification]"]()
    with pytest.raises(AssertionError, match=r"failed for \w+\("):
        check_learner(learner)


def test_expected_failures() -> None:
    reason = {"check_meta_gradient_is_the_derivative": "prototypes are constants"}
    passed = check_learner(StopsGradients(), expected_failures=reason)
    assert "check_meta_gradient_is_the_derivative[classification]" not in passed
    assert "check_learning[classification]" in passed
    with pytest.raises(AssertionError, match="should fail: prototypes are constants"):
        check_learner(ProtoNet(), expected_failures=reason)


def test_expected_failures_of_one_kind() -> None:
    name = "check_meta_gradient_is_the_derivative[classification]"
    passed = check_learner(StopsGradients(), expected_failures={name: "constants"})
    assert name not in passed
    assert "check_learning[classification]" in passed


@pytest.mark.parametrize(
    ("name", "close"),
    [
        ("check_meta_gradient_is_a_derivative", "check_meta_gradient_is_the_derivative"),
        ("check_learning[clasification]", r"check_learning\[classification\]"),
    ],
)
def test_expected_failures_that_are_no_checks(name: str, close: str) -> None:
    with pytest.raises(InvalidParameterError, match=f"expected_failures .* Did you mean '{close}'"):
        check_learner(ProtoNet(), expected_failures={name: "by design"})


def test_settings_of_the_learning_check() -> None:
    with pytest.raises(AssertionError, match="has not learned to learn"):
        check_learning(ProtoNet(), "classification", settings={"n_episodes": 1, "meta_lr": 1e-9})
