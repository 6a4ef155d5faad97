"""Slow, obviously right twins of the kernels: ten lines of numpy each."""

from __future__ import annotations

import numpy as np


def full_covariances(p):
    d = p.means.shape[1]
    return {
        "full": lambda c: c,
        "tied": lambda c: np.array([c] * len(p.means)),
        "diag": lambda c: np.array([np.diag(v) for v in c]),
        "spherical": lambda c: np.array([v * np.eye(d) for v in c]),
    }[p.covariance_type](p.covariances)


def weighted_log_density(p, X):
    out = np.empty((len(X), len(p.weights)))
    for k, C in enumerate(full_covariances(p)):
        for n, x in enumerate(X):
            o = ~np.isnan(x)
            L = np.linalg.cholesky(C[np.ix_(o, o)])
            y = np.linalg.solve(L, (x - p.means[k])[o])
            out[n, k] = (
                np.log(p.weights[k]) - 0.5 * y @ y - np.log(np.diag(L)).sum() - 0.5 * o.sum() * np.log(2 * np.pi)
            )
    return out


def log_density(p, X):
    joint = weighted_log_density(p, X)
    top = joint.max(axis=1)
    return top + np.log(np.exp(joint - top[:, None]).sum(axis=1))


def responsibilities(p, X):
    return np.exp(weighted_log_density(p, X) - log_density(p, X)[:, None])


def e_step(p, X, sample_weight=None):
    """Return weight (K,), first (K, d), second (K, d, d) about the means, and the log-likelihood."""
    w = np.ones(len(X)) if sample_weight is None else sample_weight
    r = responsibilities(p, X) * w[:, None]
    K, d = p.means.shape
    first, second = np.zeros((K, d)), np.zeros((K, d, d))
    for k, C in enumerate(full_covariances(p)):
        for n, x in enumerate(X):
            o, m = ~np.isnan(x), np.isnan(x)
            e, V = np.zeros(d), np.zeros((d, d))
            e[o] = (x - p.means[k])[o]
            B = np.linalg.solve(C[np.ix_(o, o)], C[np.ix_(o, m)]).T
            e[m] = B @ e[o]
            V[np.ix_(m, m)] = C[np.ix_(m, m)] - B @ C[np.ix_(o, m)]
            first[k] += r[n, k] * e
            second[k] += r[n, k] * (np.outer(e, e) + V)
    return r.sum(axis=0), first, second, w @ log_density(p, X)


def second_of_type(second, covariance_type):
    return {
        "full": lambda s: s,
        "tied": lambda s: s.sum(axis=0),
        "diag": lambda s: np.einsum("kii->ki", s),
        "spherical": lambda s: np.einsum("kii->k", s),
    }[covariance_type](second)


def attribution(p, x):
    """Return surprise, expected and stddev of each feature of a complete row, by brute-force marginals."""
    d, C = len(x), full_covariances(p)
    out = np.empty((3, d))
    for j in range(d):
        o = np.arange(d) != j
        rest = np.where(o, x, np.nan)[None]
        r = responsibilities(p, rest)[0] if d > 1 else p.weights
        B = np.array([np.linalg.solve(c[np.ix_(o, o)], c[o, j]) for c in C])
        mean = np.array([m[j] + b @ (x - m)[o] for m, b in zip(p.means, B, strict=True)])
        var = np.array([c[j, j] - b @ c[o, j] for c, b in zip(C, B, strict=True)])
        out[0, j] = log_density(p, rest)[0] - log_density(p, x[None])[0]
        out[1, j] = r @ mean
        out[2, j] = np.sqrt(r @ (var + (mean - out[1, j]) ** 2))
    return out
