"""Sections of the committee's members, with their defaults."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from streamgmm.config.section import Float, Int, Seconds, Section

CovarianceType: TypeAlias = Literal["full", "tied", "diag", "spherical"]
# Defaults with `adaptation: fast`: the step (and refresh_every), and the window.
FAST_STEP = 50
FAST_WINDOW = 500
MemberName: TypeAlias = Literal["single", "slow", "fast", "marginals", "temporal"]


class RefitEvery(Section):
    """When a candidate is fitted: after a number of rows or an event time, whichever comes first."""

    records: Int = Field(default=2000, ge=10)
    """Number of learnt rows."""
    duration: Seconds | None = None
    """Event time. Default: not used."""


class MemberRefitEvery(RefitEvery):
    """When a candidate is fitted: after a number of rows or an event time, whichever comes first."""

    records: Int = Field(default=5000, ge=10)
    """Number of learnt rows."""


def _refit(value: Any) -> Any:  # noqa: ANN401 - whatever the YAML holds
    return {"records": value} if isinstance(value, int) and not isinstance(value, bool) else value


MemberRefit: TypeAlias = Annotated[
    MemberRefitEvery, BeforeValidator(_refit, json_schema_input_type=MemberRefitEvery | Annotated[int, Field(ge=10)])
]


class _Member(Section):
    """Settings of every member."""

    n_components: Int = Field(default=4, ge=1, le=256)
    """Number of mixture components."""
    window: Int = Field(default=1000, ge=10, le=10_000_000)
    """Most rows in its window."""
    refresh_every: Int = Field(default=100, ge=1)
    """Learnt rows between two refreshes."""
    refit_every: MemberRefit = MemberRefitEvery()
    """When a candidate is fitted: a number of learnt rows, or records and duration."""


class MixtureMember(_Member):
    """A mixture of all columns."""

    covariance_type: CovarianceType = "full"
    """Covariances: one full matrix per component, one for all, diagonal, or one variance per component."""
    shrinkage: Float = Field(default=1.0, ge=0, le=1000)
    """Weight of the pooled covariance in each component's covariance, in rows per column."""


class SlowMember(MixtureMember):
    """A mixture of all columns, fitted to a long window."""

    n_components: Int = Field(default=5, ge=1, le=256)
    """Number of mixture components."""
    window: Int = Field(default=5000, ge=10, le=10_000_000)
    """Most rows in its window."""
    refresh_every: Int = Field(default=1500, ge=1)
    """Learnt rows between two refreshes."""
    shrinkage: Float = Field(default=0.3, ge=0, le=1000)
    """Weight of the pooled covariance in each component's covariance, in rows per column."""


class FastMember(MixtureMember):
    """A mixture of all columns, fitted to a short window."""


class MarginalsMember(_Member):
    """One-dimensional mixtures, one per column. Their log-densities are added."""

    n_components: Int = Field(default=3, ge=1, le=256)
    """Number of mixture components per column."""
    window: Int = Field(default=5000, ge=10, le=10_000_000)
    """Most rows in its window."""
    refresh_every: Int = Field(default=1500, ge=1)
    """Learnt rows between two refreshes."""


class TemporalMember(MarginalsMember):
    """One-dimensional mixtures of the recent mean and the recent mean absolute change of each column."""

    refresh_every: Int = Field(default=500, ge=1)
    """Learnt rows between two refreshes."""
    half_life: Float = Field(default=30, ge=1e-6, le=1_000_000)
    """Half-life of the exponentially weighted means, in rows."""
    weight: Float = Field(default=4.0, gt=0, le=100)
    """Weight in the committee's mean. Each other member has weight 1."""


class Members(Section):
    """Settings of the committee's members."""

    slow: SlowMember = SlowMember()
    """The mixture with the long window."""
    fast: FastMember = FastMember()
    """The mixture with the short window."""
    marginals: MarginalsMember = MarginalsMember()
    """The one-dimensional mixtures."""
    temporal: TemporalMember = TemporalMember()
    """The member for recent means and changes. Its weight is 0 on streams whose row order carries no information."""


def shortened(member: MixtureMember | MarginalsMember, step: int) -> MixtureMember | MarginalsMember:
    """Return the member with the short defaults in every setting that was not given."""
    short = {
        "window": min(member.window, FAST_WINDOW),
        "refresh_every": min(member.refresh_every, max(FAST_STEP, step)),
    }
    return member.model_copy(update={key: rows for key, rows in short.items() if key not in member.model_fields_set})


def _names(value: Any) -> Any:  # noqa: ANN401 - whatever the YAML holds
    return [value] if isinstance(value, str) else value


Committee: TypeAlias = Annotated[
    tuple[MemberName, ...],
    Field(min_length=1),
    BeforeValidator(_names, json_schema_input_type=Annotated[list[MemberName], Field(min_length=1)] | MemberName),
]
