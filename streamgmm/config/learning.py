"""Sections of what is learnt and what is flagged: model, learning, detection."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from streamgmm.config.section import Float, Int, Rule, Seconds, Section

if TYPE_CHECKING:
    from collections.abc import Iterator


class Model(Section):
    """Size and shape of the mixture."""

    n_components: Int = Field(default=4, ge=1, le=256)
    """Number of Gaussians."""
    covariance_type: Literal["full", "tied", "diag", "spherical"] = "full"
    """What the Gaussians share: nothing, one covariance, axes, or one variance each."""
    committee: Literal["single"] = "single"
    """Who scores: one mixture."""


class Window(Section):
    """What the detector remembers."""

    records: Int = Field(default=1000, ge=10, le=10_000_000)
    """Most rows."""
    span: Seconds = 600.0
    """Event time that the window covers on a fast stream: rows then enter by a repeatable thinning."""


class RefitEvery(Section):
    """When a candidate is fitted: whichever comes first."""

    records: Int = Field(default=2000, ge=10)
    """Learnt rows."""
    duration: Seconds | None = None
    """Event time; absent: rows alone decide."""


class Learning(Section):
    """The detector's memory and its schedules."""

    window: Window = Window()
    """What it remembers."""
    refresh_every: Int = Field(default=100, ge=1)
    """Learnt rows between two refreshes (one or two EM passes on the serving model)."""
    refit_every: RefitEvery = RefitEvery()
    """When a candidate is fitted, which must be promoted to serve."""
    min_records: Int = Field(default=1000, ge=10)
    """Rows before the first fit; until then rows are unscored (`warming_up`)."""
    step: Int = Field(default=100, ge=1, le=100_000)
    """Learnt rows between two moments at which anything may change."""
    challenger_every: Int = Field(default=5, ge=0)
    """Every how many refits a cold start may challenge the warm one; 0 = never."""
    refit_deadline: Seconds = 60.0
    """How long a fit may take; it is refused afterwards (`deadline`)."""
    seed: Int = Field(default=0, ge=0, lt=2**63)
    """Seed of every random choice."""

    def rules(self) -> Iterator[Rule]:
        """Yield schedules that could never run."""
        if self.min_records > self.window.records:
            yield Rule(
                ("min_records",),
                f"min_records ({self.min_records}) is above window.records ({self.window.records}): "
                "no first fit could ever start; lower it, or raise the window",
            )
        scheduled = {("refresh_every",): self.refresh_every, ("refit_every", "records"): self.refit_every.records}
        for path, rows in scheduled.items():
            if rows < self.step:
                yield Rule(
                    path, f"{path[0]} ({rows}) is below step ({self.step}), and nothing changes between step ends"
                )


class IncidentGap(Section):
    """Flagged rows that follow each other within this are one incident."""

    duration: Seconds = 300.0
    """Event time."""
    records: Int = Field(default=100, ge=1)
    """Rows, where there is no event time."""


def _gap(value: Any) -> Any:  # noqa: ANN401 - whatever the YAML holds
    return {"duration": value} if isinstance(value, (str, int, float)) and not isinstance(value, bool) else value


Gap: TypeAlias = Annotated[IncidentGap, BeforeValidator(_gap, json_schema_input_type=IncidentGap | str | float)]


class Detection(Section):
    """Which rows are flagged, and which belong together."""

    target_rate: Float = Field(default=0.001, gt=0, le=0.5)
    """Share of rows to flag."""
    level: Literal["fixed", "adaptive"] = "fixed"
    """Whether the level follows the realised rate."""
    buffer: Int | None = Field(default=None, ge=10)
    """Scores that p-values are ranked in; absent: 5000 or 10 / target_rate, whichever is more."""
    incident_gap: Gap = IncidentGap()
    """How far apart the flagged rows of one incident may be: a duration, or duration and records."""

    @property
    def needed_scores(self) -> int:
        """Return how many scores a rank at the target rate needs at least."""
        return math.ceil(round(1.0 / self.target_rate, 6))

    def buffer_rows(self, most: int) -> int:
        """Return the size of the calibration buffer; the default never exceeds `most`."""
        if self.buffer is not None:
            return self.buffer
        return min(most, max(5000, math.ceil(round(10.0 / self.target_rate, 6))))

    def rules(self) -> Iterator[Rule]:
        """Yield a buffer that cannot hold the target rate."""
        if self.buffer is not None and self.buffer < self.needed_scores:
            yield Rule(
                ("buffer",),
                f"buffer ({self.buffer}) is below 1 / target_rate ({self.needed_scores}): "
                "no rank in it could reach the target rate",
            )
