"""The members of the committee: what each may be told, and what it is unless told."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from streamgmm.config.section import Float, Int, Seconds, Section

CovarianceType: TypeAlias = Literal["full", "tied", "diag", "spherical"]
# With `adaptation: fast`, of what is not given: the step (and the refreshes), and the window.
FAST_STEP = 50
FAST_WINDOW = 500
MemberName: TypeAlias = Literal["single", "slow", "fast", "marginals", "temporal"]


class RefitEvery(Section):
    """When a candidate is fitted: whichever comes first."""

    records: Int = Field(default=2000, ge=10)
    """Learnt rows."""
    duration: Seconds | None = None
    """Event time; absent: rows alone decide."""


class MemberRefitEvery(RefitEvery):
    """When a candidate is fitted: whichever comes first."""

    records: Int = Field(default=5000, ge=10)
    """Learnt rows."""


def _refit(value: Any) -> Any:  # noqa: ANN401 - whatever the YAML holds
    return {"records": value} if isinstance(value, int) and not isinstance(value, bool) else value


MemberRefit: TypeAlias = Annotated[
    MemberRefitEvery, BeforeValidator(_refit, json_schema_input_type=MemberRefitEvery | Annotated[int, Field(ge=10)])
]


class _Member(Section):
    """What every member has."""

    n_components: Int = Field(default=4, ge=1, le=256)
    """Number of Gaussians."""
    window: Int = Field(default=1000, ge=10, le=10_000_000)
    """Rows it remembers."""
    refresh_every: Int = Field(default=100, ge=1)
    """Learnt rows between two refreshes."""
    refit_every: MemberRefit = MemberRefitEvery()
    """When a candidate is fitted: a number of learnt rows, or records and duration, whichever comes first."""


class MixtureMember(_Member):
    """A mixture of all columns."""

    covariance_type: CovarianceType = "full"
    """What the Gaussians share: nothing, one covariance, axes, or one variance each."""
    shrinkage: Float = Field(default=1.0, ge=0, le=1000)
    """How strongly covariances are drawn towards the pooled one, in rows per column."""


class SlowMember(MixtureMember):
    """The long memory: what is normal at all."""

    n_components: Int = Field(default=5, ge=1, le=256)
    """Number of Gaussians."""
    window: Int = Field(default=5000, ge=10, le=10_000_000)
    """Rows it remembers."""
    refresh_every: Int = Field(default=1500, ge=1)
    """Learnt rows between two refreshes."""
    shrinkage: Float = Field(default=0.3, ge=0, le=1000)
    """How strongly covariances are drawn towards the pooled one, in rows per column."""


class FastMember(MixtureMember):
    """The short memory: what is normal now."""


class MarginalsMember(_Member):
    """Every column by itself: the sum of one-dimensional mixtures."""

    n_components: Int = Field(default=3, ge=1, le=256)
    """Number of Gaussians of each column."""
    window: Int = Field(default=5000, ge=10, le=10_000_000)
    """Rows it remembers."""
    refresh_every: Int = Field(default=1500, ge=1)
    """Learnt rows between two refreshes."""


class TemporalMember(MarginalsMember):
    """The recent past of every column by itself: where it has been, and how much it moved a row."""

    refresh_every: Int = Field(default=500, ge=1)
    """Learnt rows between two refreshes."""
    half_life: Float = Field(default=30, ge=1e-6, le=1_000_000)
    """Rows after which a row counts half in what was of late."""
    weight: Float = Field(default=4.0, gt=0, le=100)
    """How much it counts in the committee's mean, where each other member counts 1."""


class Members(Section):
    """What each member of the committee shall have instead of its defaults."""

    slow: SlowMember = SlowMember()
    """A mixture with a long memory."""
    fast: FastMember = FastMember()
    """A mixture with a short memory."""
    marginals: MarginalsMember = MarginalsMember()
    """Every column by itself."""
    temporal: TemporalMember = TemporalMember()
    """The recent past of every column by itself; it has a say only where the order of rows says something."""


def shortened(member: MixtureMember | MarginalsMember, step: int) -> MixtureMember | MarginalsMember:
    """Return a member with a short memory in everything that was not given."""
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
