"""The serving members in numbers; taken once per detector, for condition numbers cost more than scoring a block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from streamgmm.detector.mixtures import component_weights
from streamgmm.records import MemberStatus

if TYPE_CHECKING:
    from streamgmm.engine.settings import EngineSettings
    from streamgmm.engine.state import State


def describe(state: State, settings: EngineSettings) -> tuple[MemberStatus, ...]:
    """Return the status of each member of the serving detector, with the window it was last moved on by."""
    if state.detector is None:
        return ()
    return tuple(
        MemberStatus(
            name=member.name,
            trained_at=member.trained_at,
            weights=tuple(float(w) for w in component_weights(member.mixture)),
            condition_number_max=float(np.max(member.mixture.condition_numbers())),
            window_rows=min(len(state.window), own.window),
            window_span=state.window.span(own.window),
        )
        for member, own in zip(state.detector.members, settings.members, strict=True)
    )
