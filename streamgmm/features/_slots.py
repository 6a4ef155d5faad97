"""Room for state per slot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamgmm.records import Ints


def grown(state: NDArray[Any], slot: Ints, empty: float) -> NDArray[Any]:
    """Return an array (slots, …) with room for these slots, filled up with `empty`; at least doubled where it grows."""
    needed = int(slot.max(initial=-1)) + 1
    if needed <= len(state):
        return state
    new = np.full((max(needed, 2 * len(state)) - len(state), *state.shape[1:]), empty, dtype=state.dtype)
    return np.concatenate([state, new])
