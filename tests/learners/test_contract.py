"""What every learner promises (metaest/learners/_base.py), over all of them."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from metaest.exceptions import InvalidParameterError
from metaest.learners import (
    ANIL,
    LEARNERS,
    MAML,
    DeepKernelGP,
    FineTune,
    Learner,
    MatchingNet,
    ProtoNet,
    Reptile,
    RidgeHead,
    make_learner,
)
from metaest.testing import learner_checks

# A row per way through the code; a learner without one fails test_every_learner_is_here.
# Small rates, for the squared error of an untrained Conv4 explodes at large ones.
VARIANTS: dict[str, Learner] = {
    "protonet": ProtoNet(),
    "protonet-cosine": ProtoNet(metric="cosine"),
    "matching": MatchingNet(),
    "maml": MAML(inner_steps=2, inner_lr=0.02),
    "maml-first-order": MAML(inner_steps=2, inner_lr=0.02, first_order=True),
    "maml-learned-rates": MAML(inner_steps=2, inner_lr=0.02, learn_inner_lr=True),
    "maml-prototype": MAML(inner_steps=2, inner_lr=0.02, head="prototype"),
    "anil": ANIL(inner_steps=3, inner_lr=0.02),
    "anil-first-order": ANIL(inner_steps=3, inner_lr=0.02, first_order=True),
    "reptile": Reptile(inner_steps=4, inner_lr=0.02, n_minibatches=3, adapt_steps=4),
    "ridge": RidgeHead(),
    "finetune": FineTune(head_steps=20),
    "deep_kernel_gp": DeepKernelGP(n_latent=3),
    "deep_kernel_gp-none": DeepKernelGP(n_latent=3, scaling="none"),
    "deep_kernel_gp-affine": DeepKernelGP(n_latent=3, scaling="affine"),
}
# Their meta-gradient is not the derivative of their meta-loss, by design.
INEXACT = ("maml-first-order", "anil-first-order", "reptile")


def _checks() -> Iterator[Any]:
    for name, learner in VARIANTS.items():
        for check_name, check in learner_checks(learner):
            is_inexact = check_name.startswith("check_meta_gradient") and name.startswith(INEXACT)
            marks = [pytest.mark.xfail(reason="not exact, by design")] if is_inexact else []
            marks += [pytest.mark.gpu] if "gpu" in check_name else []
            yield pytest.param(check, id=f"{name}-{check_name}", marks=marks)


def test_every_learner_is_here() -> None:
    assert {type(learner) for learner in VARIANTS.values()} == set(LEARNERS.values())
    assert {name.split("-")[0] for name in VARIANTS} == set(LEARNERS)


@pytest.mark.parametrize("check", list(_checks()))
def test_contract(check: Callable[[], None]) -> None:
    check()


@pytest.mark.parametrize("name", LEARNERS)
def test_names(name: str) -> None:
    for kind in LEARNERS[name].kinds:
        assert type(make_learner(name, kind)) is LEARNERS[name]
    learner = LEARNERS[name]()
    assert make_learner(learner, learner.kinds[0]) is learner


def test_unknown_names() -> None:
    with pytest.raises(InvalidParameterError, match=r"'protonets' is unknown.*mean 'protonet'"):
        make_learner("protonets", "classification")
    with pytest.raises(InvalidParameterError, match="a name or a Learner object, got int"):
        make_learner(3, "classification")
    with pytest.raises(InvalidParameterError, match=r"ProtoNet cannot learn regression.*maml"):
        make_learner("protonet", "regression")
