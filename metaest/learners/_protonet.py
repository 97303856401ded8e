"""Prototypical networks."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metaest._sklearn import StrOptions
from metaest._torch import MASKED_LOGIT, local_seed, mask_logits
from metaest.episodes import Support
from metaest.exceptions import InvalidParameterError, UnsupportedTaskError
from metaest.learners._base import Learner, LearnerNet, State, one_hot
from metaest.learners._constraints import POSITIVE
from metaest.learners._execute import encode
from metaest.learners._prototypes import (
    covariance_factors,
    mahalanobis_distances,
    mixture_prototypes,
    squared_distances,
    weighted_means,
)
from metaest.nets import NetSpec, ResidualMLP, Standardize


class ProtoNet(Learner):
    r"""Classify by the nearest class mean in a learned embedding.

    With prototypes :math:`c_k = \frac{1}{|S_k|} \sum_{i \in S_k} f(x_i)` and a learned
    temperature :math:`\tau`,

    .. math:: p(y = k \mid x) \propto \exp(-d(f(x), c_k) / \tau).

    A class can also be learned from a description :math:`v_k` of it, with or without examples:
    :math:`g(v_k)` then is one more example of the class, of weight `description_weight`. Where a
    description is as long as a row, :math:`g` starts as the embedding :math:`f` itself and works
    without meta-training; otherwise it is a linear map, which meta-training must learn.

    Parameters
    ----------
    metric : {"euclidean", "cosine", "diagonal", "mahalanobis"}, default="euclidean"
        Squared Euclidean distance; cosine distance; Euclidean with a learned scale of each
        feature, 1 at the start; or in the metric of each class's own covariance, estimated from
        its support rows and shrunk to that of the task.
    temperature : float or None, default=None
        Starting value of the temperature; None: the number of features' square root, but 0.1 for
        "cosine".
    learn_temperature : bool, default=True
        Whether meta-training moves it. ``temperature=1.0, learn_temperature=False`` is the paper.
    beta : float, default=1.0
        Added to the diagonal of the covariances of "mahalanobis".
    clusters : {"one", "infinite"}, default="one"
        Prototypes of a class: its mean, or as many as its rows need, the nearest of which counts
        (for "euclidean" and "diagonal").
    concentration : float, default=0.1
        With ``clusters="infinite"``, the larger the more clusters.
    description_weight : float, default=1.0
        How many examples a class description counts as.

    References
    ----------
    Snell, Swersky and Zemel, Prototypical Networks for Few-shot Learning, NeurIPS 2017, eq. 1-2
    and section 2.7 (descriptions).
    Oreshkin et al., TADAM, NeurIPS 2018 (the learned temperature).
    Bateni et al., Improved Few-Shot Visual Classification, CVPR 2020, eq. 2-3 ("mahalanobis",
    with a temperature of 2).
    Allen et al., Infinite Mixture Prototypes for Few-Shot Learning, ICML 2019 (`clusters`).

    Examples
    --------
    >>> from metaest import MetaFewShotClassifier
    >>> clf = MetaFewShotClassifier("protonet", random_state=0)
    >>> clf.fit([[0.0, 0.0], [4.0, 4.0]], ["near", "far"]).predict([[1.0, 0.5]])
    array(['near'], dtype='<U4')

    No example, but a description of each class:

    >>> clf.fit(class_descriptions={"near": [0.0, 0.0], "far": [5.0, 5.0]}).predict([[4.0, 6.0]])
    array(['far'], dtype='<U4')
    """

    autocast = True
    describes = True
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "metric": [StrOptions({"euclidean", "cosine", "diagonal", "mahalanobis"})],
        "temperature": [POSITIVE, None],
        "learn_temperature": ["boolean"],
        "beta": [POSITIVE],
        "clusters": [StrOptions({"one", "infinite"})],
        "concentration": [POSITIVE],
        "description_weight": [POSITIVE],
    }

    def __init__(
        self,
        *,
        metric: Literal["euclidean", "cosine", "diagonal", "mahalanobis"] = "euclidean",
        temperature: float | None = None,
        learn_temperature: bool = True,
        beta: float = 1.0,
        clusters: Literal["one", "infinite"] = "one",
        concentration: float = 0.1,
        description_weight: float = 1.0,
    ) -> None:
        self.metric = metric
        self.temperature = temperature
        self.learn_temperature = learn_temperature
        self.beta = beta
        self.clusters = clusters
        self.concentration = concentration
        self.description_weight = description_weight

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.clusters == "infinite" and self.metric not in ("euclidean", "diagonal"):
            raise InvalidParameterError(
                f"clusters='infinite' needs metric='euclidean' or 'diagonal', got {self.metric!r}."
            )

    def _add_parameters(
        self, module: LearnerNet, n_features: int, spec: NetSpec, rng: np.random.Generator
    ) -> None:
        start = self.temperature
        if start is None:
            start = 0.1 if self.metric == "cosine" else n_features**0.5
        log_temperature = torch.tensor(float(np.log(start)))
        module.log_temperature = nn.Parameter(log_temperature, self.learn_temperature)
        if self.metric == "diagonal":
            module.log_scale = nn.Parameter(torch.zeros(n_features))
        if spec.description_size is not None:
            with local_seed(rng):
                module.describe = _description_map(n_features, spec)

    def adapt(self, module: LearnerNet, support: Support) -> State:
        assert support.class_mask is not None
        features, weights = self._examples(module, support)
        state = {"class_mask": support.class_mask}
        if self.clusters == "infinite":
            temperature = module.log_temperature.exp()
            prototypes, owners = mixture_prototypes(
                features, weights, temperature, self.concentration
            )
            return state | {"prototypes": prototypes, "owners": owners}
        state["prototypes"] = weighted_means(features, weights)  # (B, C, d)
        if self.metric == "mahalanobis":
            state["factors"] = covariance_factors(features, weights, self.beta)
        return state

    def predict(self, module: LearnerNet, state: State, query_x: Tensor) -> Tensor:
        features = self._scale(module, encode(module.embedding, query_x))  # (B, Q, d)
        prototypes = state["prototypes"]  # (B, C, d), or (B, N, d) of clusters
        if self.metric == "cosine":
            features, prototypes = F.normalize(features, dim=-1), F.normalize(prototypes, dim=-1)
            distances = 1 - features @ prototypes.transpose(1, 2)  # (B, Q, C)
        elif self.metric == "mahalanobis":
            distances = mahalanobis_distances(features, prototypes, state["factors"])
        else:
            distances = squared_distances(features, prototypes)
        logits = -distances / module.log_temperature.exp()
        if "owners" in state:  # the nearest cluster of each class: (B, Q, N, C) -> (B, Q, C)
            strangers = ~state["owners"].unsqueeze(1)
            logits = logits.unsqueeze(-1).masked_fill(strangers, MASKED_LOGIT).amax(2)
        return mask_logits(logits, state["class_mask"])  # (B, Q, C)

    def _examples(self, module: LearnerNet, support: Support) -> tuple[Tensor, Tensor]:
        """Return the support rows and the descriptions: (B, N, d), and weights (B, N, C)."""
        assert support.class_mask is not None
        features = encode(module.embedding, support.x)  # (B, S, d)
        n_classes = support.class_mask.shape[1]
        weights = one_hot(support.y, support.mask, n_classes, features.dtype)  # (B, S, C)
        if support.class_x is not None:
            described = _describe(module, support.class_x, support.x.shape[2:])  # (B, C, d)
            own = support.class_mask.to(weights.dtype) * self.description_weight
            features = torch.cat([features, described], 1)
            weights = torch.cat([weights, torch.diag_embed(own)], 1)
        return self._scale(module, features), weights

    def _scale(self, module: LearnerNet, features: Tensor) -> Tensor:
        return features * module.log_scale.exp() if self.metric == "diagonal" else features


def _description_map(n_features: int, spec: NetSpec) -> nn.Module:
    """Make g, or what follows the embedding in it, starting at the identity."""
    if spec.describes_like_rows():
        return ResidualMLP((n_features,))
    assert spec.description_size is not None
    mean, scale = spec.description_statistics or (None, None)
    standardize = Standardize((spec.description_size,), mean, scale)
    return nn.Sequential(standardize, nn.Linear(spec.description_size, n_features))


def _describe(module: LearnerNet, class_x: Tensor, row_shape: torch.Size) -> Tensor:
    """Embed descriptions: (B, C, e) -> (B, C, d)."""
    like_rows = class_x.shape[2:] == row_shape
    features = encode(module.embedding, class_x) if like_rows else class_x
    if hasattr(module, "describe"):
        return encode(module.describe, features)
    if not like_rows:
        raise UnsupportedTaskError(
            f"class descriptions have {class_x.shape[2]} values, but rows have the shape "
            f"{tuple(row_shape)}, and the network has learned no map from one to the other. Call "
            "fit_meta with tasks that have class_descriptions, or pass descriptions of the same "
            "form as the rows."
        )
    return features
