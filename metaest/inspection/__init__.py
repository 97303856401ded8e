"""Look inside an estimator: pictures of what it has learned."""

from metaest.inspection._embedding import EmbeddingDisplay

__all__ = ["EmbeddingDisplay"]
