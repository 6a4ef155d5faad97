"""The bundled stream: a real server, 38 named metrics, one row a minute, faults with the causes operators named."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class LabelledEvent:
    """A fault: rows `start` to `end` (exclusive), and the fields that operators named as its causes."""

    start: int
    end: int
    causes: tuple[str, ...]

    def __len__(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class LabelledStream:
    """Rows with names and labels.

    Attributes
    ----------
    X : (n, d) float32
    fields
        d names.
    warm
        Rows to learn from, never judged.
    events
        In stream order, without overlap, all after `warm`.
    normal : (n,) bool
        Rows that are judged and that nobody labelled.
    """

    X: NDArray[np.float32]
    fields: tuple[str, ...]
    warm: int
    events: tuple[LabelledEvent, ...]
    normal: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.X)

    @property
    def judged(self) -> int:
        """Return the number of rows that are judged."""
        return len(self) - self.warm


def load() -> LabelledStream:
    """Load the stream that ships with the package; `data/NOTICE` says where it comes from."""
    with (files("streamgmm.demo") / "data" / "server.npz").open("rb") as file, np.load(file) as arrays:
        warm = int(arrays["warm"])
        named = zip(arrays["event_start"], arrays["event_end"], arrays["event_cause"], strict=True)
        events = merge(LabelledEvent(int(a), int(b), tuple(str(c).split(","))) for a, b, c in named)
        judged = np.arange(len(arrays["X"])) >= warm
        fields = tuple(str(name) for name in arrays["fields"])
        return LabelledStream(arrays["X"], fields, warm, events, judged & (arrays["y"] == 0))


def merge(events: Iterable[LabelledEvent]) -> tuple[LabelledEvent, ...]:
    """Join events that overlap or touch: one fault in the labels, with the causes of all of them, each once."""
    merged: list[LabelledEvent] = []
    for event in sorted(events, key=lambda e: e.start):
        if merged and event.start <= merged[-1].end:
            last = merged.pop()
            causes = tuple(dict.fromkeys(last.causes + event.causes))
            merged.append(LabelledEvent(last.start, max(last.end, event.end), causes))
        else:
            merged.append(event)
    return tuple(merged)
