"""The bet of `drift`, row by row."""

from __future__ import annotations

import numpy as np

from streamgmm.cache_kernels import njit


@njit(
    "void(float64[::1], float64, float64, float64, float64[::1])",
    nogil=True,
    cache=True,
    error_model="numpy",
)
def bet(p, epsilon, rarest, most, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's signature types it
    """Move out, (evidence, rows since it was nil), on by the p-values (n,); evidence stays between 0 and `most`."""
    evidence, rows = out
    for i in range(len(p)):
        evidence = min(most, evidence + np.log(epsilon) + (epsilon - 1.0) * np.log(max(p[i], rarest)))
        rows += 1.0
        if evidence <= 0.0:
            evidence, rows = 0.0, 0.0
    out[0], out[1] = evidence, rows
