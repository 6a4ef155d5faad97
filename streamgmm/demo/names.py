"""What the demo's topics and its consumer group are called."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Names:
    """What the topics and the consumer group are called."""

    input: str
    anomalies: str
    dead_letters: str
    group: str

    @classmethod
    def make(cls, suffix: str = "") -> Names:
        """Return the names; a suffix keeps them apart from everything else on a broker of the user's."""
        if not suffix:
            return cls("vectors", "anomalies", "vectors-dead-letters", "streamgmm")
        stem = f"streamgmm-demo-{suffix}"
        return cls(f"{stem}-vectors", f"{stem}-anomalies", f"{stem}-dead-letters", stem)

    @property
    def topics(self) -> tuple[str, str, str]:
        """Return the three topics."""
        return self.input, self.anomalies, self.dead_letters
