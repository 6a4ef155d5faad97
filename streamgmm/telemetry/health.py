"""The health ladder, from values alone: starting → live → ready.

Live: no part is past its deadline. Not live means that a restart would help, and nothing else does.

Ready: live, the kernels are compiled, and the group has given us our share once (which may be no partition at all: a
standby is ready). Warming up is ready, for rows already pass as `unscored` and a rollout must not wait hours for a
slow stream. Brokers that do not answer and a sink that takes nothing are not ready, but live: a restart would not help.
Stopping is not ready.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamgmm.supervisor import Stuck


@dataclass(frozen=True, slots=True)
class Vitals:
    """What is known of the daemon at one moment.

    Attributes
    ----------
    stuck
        The parts past their deadline, as the supervisor sees them.
    warm
        Kernels are compiled.
    joined
        The group has given an assignment at least once.
    stopping
        The orderly stop has begun.
    troubles
        What the outside world keeps from us, in sentences.
    """

    stuck: Sequence[Stuck]
    warm: bool
    joined: bool
    stopping: bool
    troubles: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Health:
    """Where the daemon stands on the ladder, and what keeps it from the next rung."""

    live: bool
    ready: bool
    reasons: tuple[str, ...]


def judge(vitals: Vitals) -> Health:
    """Place the daemon on the ladder."""
    stuck = tuple(f"{s.part}: {s.detail} ({s.seconds:.0f} s)" for s in vitals.stuck)
    waiting = (
        (not vitals.warm, "kernels are being compiled"),
        (not vitals.joined, "no assignment from the consumer group yet"),
        (vitals.stopping, "stopping"),
    )
    reasons = stuck + tuple(vitals.troubles) + tuple(reason for holds, reason in waiting if holds)
    return Health(live=not stuck, ready=not reasons, reasons=reasons)
