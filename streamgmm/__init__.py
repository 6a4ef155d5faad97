"""Streaming anomaly detection with Gaussian mixtures.

The public classes are imported lazily (PEP 562), so that `streamgmm --help` does not import numba.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamgmm.mixture.estimator import GaussianMixture
    from streamgmm.stream_detector import StreamDetector

__version__ = "0.1.0"
__all__ = ["GaussianMixture", "StreamDetector", "__version__"]

_HOMES = {
    "GaussianMixture": "streamgmm.mixture.estimator",
    "StreamDetector": "streamgmm.stream_detector",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562 hands over whatever the module holds
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
