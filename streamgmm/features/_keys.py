"""Which slot of state a key has: bounded, least recently used leaving first, whatever the blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from streamgmm.features.keys_kernels import USED, assign, by_use, rebuild

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from streamgmm.records import Bools, ByteColumn, Ints


class KeyTable:
    """Keys and their slots, 0 to capacity − 1.

    A key is known by 128 bits of hash; null is a key like any other. Slots depend on the keys and their order alone.

    Parameters
    ----------
    capacity
        Most keys; one more takes the slot of the key that was seen longest ago.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._clear()

    def slots(self, keys: ByteColumn) -> tuple[Ints, Bools]:
        """Return the slot (n,) of each row's key, and where (n,) it is new to the slot: what stood there is void."""
        slot, fresh = np.empty(len(keys), dtype=np.int64), np.empty(len(keys), dtype=bool)
        start, length = (np.ascontiguousarray(x, dtype=np.int64) for x in (keys.start, keys.length))
        assign(keys.buffer, start, length, self._table, self._hashes, self._newer, self._older, self._ends, slot, fresh)
        return slot, fresh

    def state(self) -> dict[str, NDArray[Any]]:
        """Return hashes by slot, and the slots from the one used longest ago to the latest."""
        order = np.empty(self._ends[USED], dtype=np.int64)
        by_use(self._older, self._ends, order)
        return {"hashes": self._hashes[: len(order)].copy(), "order": order}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> Ints | None:
        """Continue from a state.

        Returns
        -------
        ndarray or None
            Where there are more keys than the capacity allows now: the old slots that stay, in the order of the new
            ones. None where every slot stays what it is.
        """
        self._clear()
        hashes, order = state["hashes"], np.array(state["order"], dtype=np.int64)
        kept = order[-self.capacity :]
        moved = len(kept) < len(order)
        used = np.arange(len(kept)) if moved else order
        self._hashes[: len(kept)] = hashes[kept] if moved else hashes
        rebuild(used, self._table, self._hashes, self._newer, self._older, self._ends)
        return kept if moved else None

    def _clear(self) -> None:
        size = 1 << (2 * self.capacity - 1).bit_length()
        self._table = np.zeros(size, dtype=np.int64)
        self._hashes = np.zeros((self.capacity, 2), dtype=np.uint64)
        self._newer, self._older = (np.full(self.capacity, -1, dtype=np.int64) for _ in range(2))
        self._ends = np.array([-1, -1, 0], dtype=np.int64)
