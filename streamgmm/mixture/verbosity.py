"""scikit-learn's messages while a fit goes on."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from streamgmm.mixture.em import Fit


class Progress:
    """What `verbose` asks for: 1 says where a run is, 2 also how long it took."""

    def __init__(self, verbose: int, interval: int, init: int) -> None:
        self._verbose, self._interval = verbose, interval
        self._began = self._last = time.perf_counter()
        self._bound = -np.inf
        self._say(f"Initialization {init}")

    def on_pass(self, n_iter: int, bound: float) -> None:
        """Report a pass."""
        change, self._bound = bound - self._bound, bound
        if n_iter % self._interval == 0:
            now = time.perf_counter()
            more = f"\t time lapse {now - self._last:.5f}s\t ll change {change:.5f}" if self._verbose > 1 else ""
            self._last = now
            self._say(f"  Iteration {n_iter}{more}")

    def end(self, fit: Fit) -> None:
        """Report the outcome."""
        lapse = time.perf_counter() - self._began
        more = f" time lapse {lapse:.5f}s\t lower bound {fit.lower_bound:.5f}." if self._verbose > 1 else ""
        self._say(f"Initialization {'converged' if fit.converged else 'did not converge'}.{more}")

    def _say(self, words: str) -> None:
        if self._verbose:
            sys.stdout.write(words + "\n")
