"""Networks shipped with metaest, and the synthetic tasks they were trained on."""

from __future__ import annotations

from metaest.pretrained._in_context import PretrainedWeights, load_in_context

__all__ = ["PretrainedWeights", "load_in_context"]
