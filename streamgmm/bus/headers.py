"""Headers as slices of a buffer: read for the few records that somebody asks about, the anomalies and dead letters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from streamgmm.records import Headers, Ints


@dataclass(frozen=True, slots=True)
class HeaderColumn(Sequence["Headers"]):
    """A column of headers as slices of one buffer, checked already.

    Attributes
    ----------
    buffer : ndarray of uint8
        Shared by all; what `column[i]` returns is a copy.
    start, number : (n,) int64
        Where each record's headers begin, and how many they are.
    """

    buffer: NDArray[np.uint8]
    start: Ints
    number: Ints

    def __len__(self) -> int:
        return len(self.start)

    @overload
    def __getitem__(self, index: int) -> Headers: ...

    @overload
    def __getitem__(self, index: slice) -> HeaderColumn: ...

    def __getitem__(self, index: int | slice) -> Headers | HeaderColumn:
        """Return the headers of one record; a null value is None."""
        if isinstance(index, slice):
            return HeaderColumn(self.buffer, self.start[index], self.number[index])
        at = int(self.start[index])
        headers = []
        for _ in range(int(self.number[index])):
            name, at = self._bytes(at)
            value, at = self._bytes(at)
            # What is not UTF-8 is against the protocol, but no reason to stop reading the topic.
            headers.append(((name or b"").decode("utf-8", "replace"), value))
        return headers

    def take(self, indices: Ints) -> HeaderColumn:
        """Return the headers of these records (m,), of the same buffer."""
        return HeaderColumn(self.buffer, self.start[indices], self.number[indices])

    def _bytes(self, at: int) -> tuple[bytes | None, int]:
        length, at = self._varint(at)
        end = at + max(length, 0)
        return None if length < 0 else self.buffer[at:end].tobytes(), end

    def _varint(self, at: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            byte = int(self.buffer[at])
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1), at
            shift += 7
