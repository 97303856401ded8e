"""The public suite finds what is wrong with a learner."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from metaest.episodes import EpisodeBatch, Support
from metaest.exceptions import InvalidParameterError
from metaest.learners import CNP, Learner, LearnerNet, ProtoNet, RidgeHead, State
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


class WearsOut(ProtoNet):
    def predict(self, module: LearnerNet, state: State, query_x: Tensor) -> Tensor:
        logits = super().predict(module, state, query_x)
        if not torch.is_grad_enabled():
            state["prototypes"].mul_(0.5)
        return logits


class ReplacesTheState(ProtoNet):
    def predict(self, module: LearnerNet, state: State, query_x: Tensor) -> Tensor:
        state["prototypes"] = state["prototypes"] * 0.5
        return super().predict(module, state, query_x)


class LeavesNotes(ProtoNet):
    def predict(self, module: LearnerNet, state: State, query_x: Tensor) -> Tensor:
        state["seen"] = query_x
        return super().predict(module, state, query_x)


class ClampsItsRows(ProtoNet):
    def adapt(self, module: LearnerNet, support: Support) -> State:
        support.x.clamp_(-1, 1)
        return super().adapt(module, support)


class ClampsQueries(ProtoNet):
    def predict(self, module: LearnerNet, state: State, query_x: Tensor) -> Tensor:
        return super().predict(module, state, query_x.clamp_(-1, 1))


class ClampsInTraining(ProtoNet):
    def meta_loss(self, module: LearnerNet, batch: EpisodeBatch) -> Tensor:
        batch.query_x.clamp_(-1, 1)
        return super().meta_loss(module, batch)


class RemembersTheLastTask(ProtoNet):
    last: ClassVar[State] = {}

    def adapt(self, module: LearnerNet, support: Support) -> State:
        self.last.update(super().adapt(module, support))
        return dict(self.last)

    def predict(self, module: LearnerNet, state: State, query_x: Tensor) -> Tensor:
        known = self.last["prototypes"].shape == state["prototypes"].shape
        return super().predict(module, self.last if known else state, query_x)


class KeepsTheFirstTask(ProtoNet):
    def adapt(self, module: LearnerNet, support: Support) -> State:
        module.__dict__.setdefault("scale", support.x.std())
        return super().adapt(module, support)

    def predict(self, module: LearnerNet, state: State, query_x: Tensor) -> Tensor:
        return super().predict(module, state, query_x) * module.scale


class KeepsWithAPart(ProtoNet):
    def predict(self, module: LearnerNet, state: State, query_x: Tensor) -> Tensor:
        module.embedding.register_buffer("seen", query_x)
        return super().predict(module, state, query_x)


class MovesAWeight(ProtoNet):
    def adapt(self, module: LearnerNet, support: Support) -> State:
        with torch.no_grad():
            next(module.parameters()).mul_(1.001)
        return super().adapt(module, support)


class KeepsWithItself(ProtoNet):
    def adapt(self, module: LearnerNet, support: Support) -> State:
        self.n_tasks = len(support)
        return super().adapt(module, support)


class CountsItsCalls(ProtoNet):
    calls: ClassVar[list[int]] = []

    def predict(self, module: LearnerNet, state: State, query_x: Tensor) -> Tensor:
        self.calls.append(1)
        return super().predict(module, state, query_x) / len(self.calls)


class SeedsTorch(ProtoNet):
    def adapt(self, module: LearnerNet, support: Support) -> State:
        torch.manual_seed(0)
        return super().adapt(module, support)


class DrawsFromNumpy(ProtoNet):
    def predict(self, module: LearnerNet, state: State, query_x: Tensor) -> Tensor:
        np.random.rand()
        return super().predict(module, state, query_x)


class SeedsNumpy(ProtoNet):
    def predict(self, module: LearnerNet, state: State, query_x: Tensor) -> Tensor:
        np.random.seed(0)
        return super().predict(module, state, query_x)


class SeedsPython(ProtoNet):
    def adapt(self, module: LearnerNet, support: Support) -> State:
        random.seed(0)
        return super().adapt(module, support)


class TrainsForGood(ProtoNet):
    def adapt(self, module: LearnerNet, support: Support) -> State:
        module.train()
        return super().adapt(module, support)


class EndsTraining(ProtoNet):
    def meta_loss(self, module: LearnerNet, batch: EpisodeBatch) -> Tensor:
        module.eval()
        return super().meta_loss(module, batch)


class IgnoresDescriptions(ProtoNet):
    def adapt(self, module: LearnerNet, support: Support) -> State:
        return super().adapt(module, replace(support, class_x=None))


class RefusesDescriptions(ProtoNet):
    def adapt(self, module: LearnerNet, support: Support) -> State:
        if support.class_x is not None:
            raise NotImplementedError("not yet")
        return super().adapt(module, support)


class NeedsRowsBesideDescriptions(ProtoNet):
    def adapt(self, module: LearnerNet, support: Support) -> State:
        state = super().adapt(module, support)
        n_rows = support.mask.sum(1)[:, None, None].to(support.x.dtype)
        return state | {"prototypes": state["prototypes"] * n_rows / n_rows}


class ClaimsAnyColumns(ProtoNet):
    any_columns = True


class ClaimsAVariance(RidgeHead):
    kinds = ("regression",)  # type: ignore[assignment]
    predicts_variance = True


class HidesItsVariance(CNP):
    kinds = ("regression",)  # type: ignore[assignment]
    predicts_variance = False


class ForgetsItsGaussian(RidgeHead):
    kinds = ("regression",)  # type: ignore[assignment]

    def predict(self, module: LearnerNet, state: State, query_x: Tensor) -> Tensor:
        found = super().predict(module, state, query_x)
        return found if isinstance(found, Tensor) else found.mean


@pytest.mark.parametrize(
    ("learner", "said"),
    [
        (WearsOut(), "predict changed 'prototypes'.* Return new tensors"),
        (ReplacesTheState(), "predict changed 'prototypes'.* Return new tensors"),
        (LeavesNotes(), r"predict added or removed entries of the state.*state \| {...}"),
        (ClampsItsRows(), "adapt changed 'support_x'"),
        (ClampsQueries(), "predict changed 'query_x'"),
        (ClampsInTraining(), "meta_loss changed 'query_x'"),
        (RemembersTheLastTask(), "differs after adapt to another one.*keep nothing on the learner"),
        (KeepsWithItself(), r"attributes \['n_tasks'\] were set or changed.*keep nothing"),
        (CountsItsCalls(), "called twice with one state, differs.*keep nothing on the learner"),
        (KeepsTheFirstTask(), "adapt set, changed or removed 'scale' of the network.*keep nothing"),
        (KeepsWithAPart(), "predict set, changed or removed 'embedding.seen' of the network"),
        (MovesAWeight(), "adapt set, changed or removed 'log_temperature' of the network"),
        (EndsTraining(), r"meta_loss called train\(\) or eval\(\)"),
        (SeedsTorch(), r"adapt seeded or moved a global.*torch.Generator\(\)"),
        (DrawsFromNumpy(), "predict seeded or moved a global random generator"),
        (SeedsNumpy(), "predict seeded or moved a global random generator, of torch, numpy or Py"),
        (SeedsPython(), "adapt seeded or moved a global random generator"),
        (TrainsForGood(), r"adapt called train\(\) or eval\(\)"),
        (IgnoresDescriptions(), "other descriptions give the same.* set describes = False"),
        (RefusesDescriptions(), "adapt fails with class descriptions.* describes = False: not yet"),
        (NeedsRowsBesideDescriptions(), "and no rows at all a prediction is not finite"),
        (ClaimsAnyColumns(), "built for 3 columns cannot read 2. Set any_columns = False"),
        (ClaimsAVariance(), "Gaussian without a variance. Set predicts_variance = False"),
        (HidesItsVariance(), "Gaussian with a variance. Set predicts_variance = True"),
        (ForgetsItsGaussian(), r"returned a tensor for a regression. Return Gaussian\(mean\)"),
    ],
    ids=lambda value: "" if isinstance(value, str) else type(value).__name__,
)
def test_side_effects_and_false_claims_are_told(learner: Learner, said: str) -> None:
    numpys, pythons = np.random.get_state(), random.getstate()
    with pytest.raises(AssertionError, match=f"(?s){said}"):
        check_learner(learner)
    np.random.set_state(numpys)
    random.setstate(pythons)


@pytest.mark.parametrize("kinds", [(), "classification", ("ranking",), ["classification"]], ids=str)
def test_kinds_without_checks_are_told(kinds: object) -> None:
    learner = type("NoKinds", (ProtoNet,), {"kinds": kinds})()
    with pytest.raises(AssertionError, match=r"kinds of NoKinds must be a tuple of one or both of"):
        check_learner(learner)


@pytest.mark.parametrize("learner", [ProtoNet, "protonet"], ids=["class", "name"])
def test_only_objects_are_checked(learner: Learner) -> None:
    with pytest.raises(InvalidParameterError, match="learner must be an object of a subclass of"):
        list(learner_checks(learner))


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
