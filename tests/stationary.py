"""Streams that never change: five shapes in any number of dimensions."""

import numpy as np

SHAPES = ("gauss", "modes", "heavy", "skewed", "correlated")


def stationary(shape, n, d, seed=0):
    """Draw rows (n, d) of a shape; the shape itself hangs on d alone."""
    rng, fixed = np.random.default_rng([seed, SHAPES.index(shape), d]), np.random.default_rng([7, d])
    if shape == "heavy":
        return rng.standard_t(4.0, size=(n, d))
    if shape == "skewed":
        return rng.gamma(2.0, 1.0, size=(n, d))
    X = rng.normal(size=(n, d))
    if shape == "modes":
        return X + (fixed.normal(size=(4, d)) * 4.0)[rng.choice(4, n, p=[0.4, 0.3, 0.2, 0.1])]
    return X @ fixed.normal(size=(d, d)) if shape == "correlated" else X
