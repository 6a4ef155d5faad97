"""Settings of an engine."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from streamgmm.refit.job import SMALLER_FIT, MemberSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamgmm.engine.drift import Adaptation
    from streamgmm.engine.policy import AdoptAfter, LearnFlagged
    from streamgmm.engine.rules import FieldRule


# Multiplications, some seconds' worth. Up to about 1000 columns the members of a default committee stay below it.
WORK_OF_A_TURN = 5e10
# Measured with 200 to 800 columns on one core: a first fit is some starts, and EM passes from the best of them.
WORK_A_SECOND = 5e9
FIRST_PASSES = 90.0


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Everything the engine needs to know.

    Attributes
    ----------
    names
        The columns, in order; hidden ones, behind them, have none.
    stems
        Of each hidden column, the column that it stems from, by index.
    members
        One for `single`, several for a committee.
    min_records : int
        Learnt rows before the first fit.
    span : float
        Seconds of event time that window and calibration buffer shall cover on a fast stream.
    step : int
        Learnt rows between two moments at which detector and calibration may change.
    target_rate : float
        Share of rows to flag.
    level : {"fixed", "adaptive"}
    log_density_below : float, optional
        Flag rows below this (nats) instead of a share of them.
    buffer : int
        Scores in the calibration buffer.
    adaptation : {"stable", "balanced", "fast"}
        Whether and how soon a lasting change cuts the memory (`drift.RULES`).
    learn_flagged : {"accept", "down_weight", "exclude"}
        Whether single flagged rows enter the window: all, one in ten, none.
    adopt_after
        How long a sustained change is held back before it is learnt; absent: it is learnt as it comes.
    incident_seconds, incident_rows
        Flagged rows within this event time (rows, where there is no time) belong together.
    challenger_every : int
        Every how many refits a cold start may challenge the warm one; 0 = never.
    refit_deadline : float
        Seconds a fit may take.
    rules
        What single columns must do to be worth a flag, by name.
    """

    names: tuple[str, ...]
    members: tuple[MemberSettings, ...] = (MemberSettings(),)
    min_records: int = 1000
    span: float = 600.0
    step: int = 100
    target_rate: float = 0.001
    level: Literal["fixed", "adaptive"] = "adaptive"
    log_density_below: float | None = None
    buffer: int = 0
    adaptation: Adaptation = "balanced"
    learn_flagged: LearnFlagged = "accept"
    adopt_after: AdoptAfter | None = None
    incident_seconds: float = 300.0
    incident_rows: int = 100
    challenger_every: int = 5
    refit_deadline: float = 60.0
    seed: int = 0
    rules: Mapping[str, FieldRule] = field(default_factory=dict)
    stems: tuple[int, ...] = ()

    @property
    def width(self) -> int:
        """Return the number of columns of the rows, the hidden ones included."""
        return len(self.names) + len(self.stems)

    def fits_a_turn(self, member: int, rows: int, passes: int) -> bool:
        """Return whether so many EM passes of a member may be taken in the loop; else a refit beside it does them."""
        return passes * self.members[member].pass_work(self.width, rows) <= WORK_OF_A_TURN

    @property
    def portion(self) -> int:
        """Return how many rows are scored at a time: each part of a block has `limits.loop_deadline` for itself."""
        return max(1, int(WORK_OF_A_TURN / (2.0 * sum(m.row_work(self.width) for m in self.members))))

    @property
    def too_wide(self) -> str:
        """Return what to say at the start where the first fit may hardly be done in time; empty where it will be."""
        work = FIRST_PASSES * sum(m.pass_work(self.width, self.min_records) for m in self.members)
        if work / WORK_A_SECOND <= self.refit_deadline / 2:
            return ""
        return (
            f"{len(self.names)} columns are many for these members: the first fit takes about "
            f"{work / WORK_A_SECOND:.0f} s, and learning.refit_deadline is {self.refit_deadline:g} s ({SMALLER_FIT})"
        )

    @property
    def window(self) -> int:
        """Return the rows to remember: the longest member's window."""
        return max(m.window for m in self.members)

    @property
    def calibration_rows(self) -> int:
        """Return the size of the calibration buffer; unless given, 5000 or 10 / target rate, whichever is more."""
        return self.buffer or max(5000, math.ceil(10.0 / self.target_rate))
