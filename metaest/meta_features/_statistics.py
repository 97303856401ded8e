"""Simple, statistical and information-theoretic features of a sample."""

from __future__ import annotations

import numpy as np

from metaest.meta_features._canonical import Sample

_RIVOLLI = "Rivolli et al. 2022"
SIMPLE = {
    "log_n_rows": f"natural log of the number of rows ({_RIVOLLI})",
    "log_n_columns": f"natural log of the number of columns ({_RIVOLLI})",
    "log_dimensionality": f"natural log of columns / rows ({_RIVOLLI})",
    "is_classification": "1 for classification, 0 for regression",
    "log_n_classes": f"natural log of the number of classes; 0 for regression ({_RIVOLLI})",
    "class_entropy": "entropy of the classes / log of their number; 0 for regression (Reif 2014)",
    "class_min": f"share of the rarest class; 0 for regression ({_RIVOLLI})",
    "class_max": f"share of the most frequent class; 0 for regression ({_RIVOLLI})",
    "numeric_share": f"share of numeric columns, dates among them ({_RIVOLLI})",
    "binary_share": f"share of columns with two values ({_RIVOLLI})",
    "constant_share": "share of columns with one value or none",
    "missing_share": f"share of missing cells ({_RIVOLLI})",
    "missing_columns": f"share of columns with a missing cell ({_RIVOLLI})",
    "missing_rows": f"share of rows with a missing cell ({_RIVOLLI})",
    "infinite_share": "share of infinite cells",
    "levels_mean": "mean log of the number of categories; 0 without categories (Reif 2014)",
    "levels_max": "largest log of the number of categories; 0 without categories (Reif 2014)",
}
STATISTICAL = {
    "has_numbers": "1 if a numeric column varies; 0: the other statistical features are 0",
    "skewness_mean": f"mean over columns of asinh(skewness) ({_RIVOLLI})",
    "skewness_std": f"standard deviation over columns of asinh(skewness) ({_RIVOLLI})",
    "kurtosis_mean": f"mean over columns of asinh(excess kurtosis) ({_RIVOLLI})",
    "kurtosis_std": f"standard deviation over columns of asinh(excess kurtosis) ({_RIVOLLI})",
    "outlier_share": f"share of numbers beyond 1.5 interquartile ranges ({_RIVOLLI})",
    "zero_share": f"share of zeros among the numbers ({_RIVOLLI}, sparsity)",
    "distinct_share": "mean share of distinct values of a numeric column",
    "correlation_mean": f"mean absolute correlation of two numeric columns ({_RIVOLLI})",
    "correlation_max": "largest absolute correlation of two numeric columns",
    "pca_first": "share of variance on the first principal component (Bardenet et al. 2013)",
    "pca_95": "share of the components that hold 95 % of the variance (Feurer et al. 2015)",
    "target_skewness": "asinh(skewness) of the target; 0 for classification",
    "target_kurtosis": "asinh(excess kurtosis) of the target; 0 for classification",
    "target_distinct": "share of distinct targets; 0 for classification",
}
INFORMATION = {
    "has_information": "1 if the target and a column vary; 0: the features below are 0",
    "column_entropy": f"mean entropy of a column in 8 bins / log 8 ({_RIVOLLI})",
    "mutual_information_mean": "mean mutual information of a column and the target / the "
    f"target's entropy ({_RIVOLLI})",
    "mutual_information_max": "largest of these",
    "mutual_information_std": "standard deviation of these",
    "noise_to_signal": f"log1p of (column entropy - mutual information) / the latter ({_RIVOLLI})",
    "equivalent_columns": f"log1p of target entropy / mean mutual information ({_RIVOLLI})",
}
N_BINS = 8


def simple(sample: Sample) -> dict[str, float]:
    x, codes = sample.numbers, sample.codes
    gaps = np.hstack([np.isnan(x), codes == -1])
    n_values = np.array(
        [len(np.unique(v[np.isfinite(v)])) for v in x.T]
        + [len(np.unique(c[c >= 0])) for c in codes.T]
    )
    counts = sample.class_counts
    shares = counts / counts.sum() if len(counts) else np.zeros(1)
    levels = np.log(np.maximum(n_values[x.shape[1] :], 1)) if codes.shape[1] else np.zeros(1)
    values = [
        np.log(sample.n_rows),
        np.log(sample.n_columns),
        np.log(sample.n_columns / sample.n_rows),
        float(sample.kind == "classification"),
        np.log(max(len(counts), 1)),
        entropy(counts) / np.log(len(counts)) if len(counts) > 1 else 0.0,
        shares.min(),
        shares.max(),
        x.shape[1] / gaps.shape[1],
        (n_values == 2).mean(),
        (n_values < 2).mean(),
        gaps.mean(),
        gaps.any(axis=0).mean(),
        gaps.any(axis=1).mean(),
        np.isinf(x).sum() / gaps.size,
        levels.mean(),
        levels.max(),
    ]
    return dict(zip(SIMPLE, map(float, values), strict=True))


def statistical(sample: Sample) -> dict[str, float]:
    result = dict.fromkeys(STATISTICAL, 0.0)
    if sample.kind == "regression":
        skew, kurt = _moments(sample.y[:, None] / max(np.abs(sample.y).max(), 1e-300))
        result["target_skewness"], result["target_kurtosis"] = float(skew[0]), float(kurt[0])
        result["target_distinct"] = len(np.unique(sample.y)) / len(sample.y)
    x = filled(sample.numbers)
    x = x[:, np.ptp(x, axis=0) > 0]
    if not x.shape[1]:
        return result
    skew, kurt = _moments(x)
    low, high = np.quantile(x, [0.25, 0.75], axis=0)
    reach = 1.5 * (high - low)
    z = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-300)
    correlation = np.abs(z.T @ z / len(z))[np.triu_indices(z.shape[1], 1)]
    variance = np.linalg.svd(z, compute_uv=False) ** 2
    share = np.cumsum(variance) / variance.sum()
    values = {
        "has_numbers": 1.0,
        "skewness_mean": skew.mean(),
        "skewness_std": skew.std(),
        "kurtosis_mean": kurt.mean(),
        "kurtosis_std": kurt.std(),
        "outlier_share": ((x < low - reach) | (x > high + reach)).mean(),
        "zero_share": (x == 0).mean(),
        "distinct_share": np.mean([len(np.unique(v)) / len(v) for v in x.T]),
        "correlation_mean": correlation.mean() if len(correlation) else 0.0,
        "correlation_max": min(correlation.max(), 1.0) if len(correlation) else 0.0,
        "pca_first": share[0],
        "pca_95": (np.searchsorted(share, 0.95) + 1) / len(share),
    }
    return result | {name: float(value) for name, value in values.items()}


def information(sample: Sample) -> dict[str, float]:
    result = dict.fromkeys(INFORMATION, 0.0)
    target = sample.y if sample.kind == "classification" else _binned(sample.y)
    target = np.unique(target, return_inverse=True)[1]
    columns = [_binned(v) for v in sample.numbers.T] + [_few_levels(c) for c in sample.codes.T]
    of_target = entropy(np.bincount(target))
    own = np.array([entropy(np.bincount(c)) for c in columns])
    if of_target == 0 or not own.any():
        return result
    joint = [entropy(np.bincount(c * (target.max() + 1) + target)) for c in columns]
    shared = np.maximum(own + of_target - np.array(joint), 0.0)
    mean = max(shared.mean(), 1e-6)
    values = [
        1.0,
        own.mean() / np.log(N_BINS),
        shared.mean() / of_target,
        shared.max() / of_target,
        (shared / of_target).std(),
        np.log1p(max(own.mean() - mean, 0.0) / mean),
        np.log1p(of_target / mean),
    ]
    return dict(zip(INFORMATION, map(float, values), strict=True))


def entropy(counts: np.ndarray) -> float:
    """Entropy in nats of counts of any shape."""
    shares = counts[counts > 0] / counts.sum()
    return float(max(-(shares * np.log(shares)).sum(), 0.0))


def filled(x: np.ndarray) -> np.ndarray:
    """Clip infinite values to the finite range and fill gaps with the median."""
    x = np.clip(x, -1.0, 1.0)  # the finite magnitudes are at most 1: see Sample.numbers
    for column in x.T:
        gaps = np.isnan(column)
        if gaps.any():
            column[gaps] = 0.0 if gaps.all() else np.median(column[~gaps])
    return x


def robust_scale(raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median and interquartile range; the standard deviation, then 1, where that is 0."""
    low, center, high = np.quantile(raw, [0.25, 0.5, 0.75], axis=0)
    scale = (high - low) / 1.349  # of a normal distribution: its standard deviation
    scale = np.where(scale > 1e-12, scale, raw.std(axis=0))
    return center, np.where(scale > 1e-12, scale, 1.0)


def _moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    z = x - x.mean(axis=0)
    z = z / np.maximum(z.std(axis=0), 1e-150)
    return np.arcsinh((z**3).mean(axis=0)), np.arcsinh((z**4).mean(axis=0) - 3.0)


def _binned(values: np.ndarray) -> np.ndarray:
    """Cut at quantiles into at most 8 bins; a gap is a bin of its own."""
    gaps = np.isnan(values)
    if gaps.all():
        return np.zeros(len(values), dtype=np.int64)
    # Inverted: the edges are values, or quantiles between two infinite ones would be NaN.
    levels = np.linspace(0, 1, N_BINS + 1)[1:-1]
    edges = np.unique(np.quantile(values[~gaps], levels, method="inverted_cdf"))
    return np.where(gaps, len(edges) + 1, np.searchsorted(edges, values, side="left"))


def _few_levels(codes: np.ndarray) -> np.ndarray:
    """Keep the 31 most frequent categories; the rest is one, or chance looks like information."""
    codes = codes + 1
    counts = np.bincount(codes)
    if len(counts) <= 32:
        return codes
    rank = np.argsort(np.argsort(-counts, kind="stable"))
    return np.minimum(rank[codes], 31)
