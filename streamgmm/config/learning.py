"""Sections of what is learnt and what is flagged: model, learning, detection."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, Tag, WithJsonSchema

from streamgmm.config.members import Committee, Members, RefitEvery
from streamgmm.config.section import Float, Int, Rule, Seconds, Section, Text, duplicates

if TYPE_CHECKING:
    from collections.abc import Iterator


class ComponentsRange(Section):
    """A number of Gaussians that every fit from nothing chooses anew; warm refits keep it."""

    min: Int = Field(default=1, ge=1, le=256)
    """The fewest."""
    max: Int = Field(default=8, ge=1, le=256)
    """The most."""
    choose_by: Literal["bic", "aic", "held_out"] = "bic"
    """What chooses: an information criterion, or the log-density of rows held out."""

    def rules(self) -> Iterator[Rule]:
        """Yield a range that holds no number."""
        if self.min > self.max:
            yield Rule(("min",), f"min ({self.min}) is above max ({self.max})")


def _number_or_range(value: Any) -> str:  # noqa: ANN401 - whatever the YAML holds
    return "range" if isinstance(value, (dict, ComponentsRange)) else "number"


Components: TypeAlias = Annotated[
    # What pydantic makes of the limits beside a tag is no JSON Schema.
    Annotated[
        Int,
        Field(ge=1, le=256),
        WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 256}),
        Tag("number"),
    ]
    | Annotated[ComponentsRange, Tag("range")],
    Discriminator(_number_or_range),
]


class Pca(Section):
    """Fit mixtures along principal components; what those leave out stays one isotropic term."""

    n_components: Int | None = Field(default=None, ge=1, le=4096)
    """How many."""
    explained_variance: Float | None = Field(default=None, gt=0, le=1)
    """Or as many as hold this share of the variance."""

    def rules(self) -> Iterator[Rule]:
        """Yield a choice that is none."""
        if (self.n_components is None) == (self.explained_variance is None):
            yield Rule((), "pca takes either n_components or explained_variance")


class Model(Section):
    """Who scores: a committee, or one mixture."""

    committee: Committee = ("slow", "fast", "marginals", "temporal")
    """The members, whose mean log-density is the verdict; `single`: one mixture, as the keys beside say."""
    count_few_values: bool = True
    """Whether numeric columns of 8 distinct values at most have them counted, instead of fitted by Gaussians."""
    scaling: Literal["standard", "robust"] = "standard"
    """Columns scaled by mean and standard deviation, or by median and quantiles."""
    pca: Pca | None = None
    """Fit mixtures along principal components; absent: to the columns themselves. Other members never see them."""
    members: Members = Members()
    """What the committee's members shall have instead of their defaults."""
    n_components: Components = 4
    """Number of Gaussians of `single`, or a range to choose it from."""
    covariance_type: Literal["full", "tied", "diag", "spherical"] = "full"
    """What the Gaussians of `single` share: nothing, one covariance, axes, or one variance each."""

    @property
    def most_components(self) -> int:
        """Return the number of Gaussians of `single`, or the most there may be."""
        return self.n_components.max if isinstance(self.n_components, ComponentsRange) else self.n_components

    @property
    def is_single(self) -> bool:
        """Return whether one mixture scores, sized by the keys of `model` and `learning` themselves."""
        return self.committee == ("single",)

    def rules(self) -> Iterator[Rule]:
        """Yield members twice or in vain, and keys that only the single mixture takes."""
        for position, name in duplicates(self.committee):
            yield Rule(("committee", position), f"{name!r} is named twice")
        if "single" in self.committee and not self.is_single:
            yield Rule(("committee",), "single stands alone: committee: single, or a list of other members")
        if self.committee == ("temporal",):
            yield Rule(("committee",), "temporal alone cannot tell what a row looks like: name another member as well")
        if self.pca is not None and set(self.committee) <= {"marginals", "temporal"}:
            members = " and ".join(self.committee)
            yield Rule(("pca",), f"pca has no effect on {members}, which take each column by itself")
        if not self.is_single:
            for key in ("n_components", "covariance_type"):
                if key in self.model_fields_set:
                    yield Rule((key,), beside_a_committee(key, f"model.members.<name>.{key}"))
        for name in sorted(self.members.model_fields_set - set(self.committee)):
            yield Rule(("members", name), f"{name!r} is not in the committee ({', '.join(self.committee)})")


def beside_a_committee(key: str, instead: str) -> str:
    """Return the sentence for a key of the single mixture that stands beside a committee."""
    return f"{key} has no effect beside a committee, whose members bring their own: set {instead}, or committee: single"


def _duration(value: Any) -> Any:  # noqa: ANN401 - whatever the YAML holds
    return {"duration": value} if isinstance(value, (str, int, float)) and not isinstance(value, bool) else value


class Window(Section):
    """What the detector remembers."""

    records: Int = Field(default=1000, ge=10, le=10_000_000)
    """Most rows, of `committee: single`; other members bring their own."""
    span: Seconds = 600.0
    """Event time that the window covers on a fast stream: rows then enter by a repeatable thinning."""


class AdoptAfter(Section):
    """How long a sustained change is held back before it is learnt, whichever comes first."""

    duration: Seconds | None = None
    """Event time; absent: rows alone decide."""
    records: Int | None = Field(default=None, ge=10)
    """Learnt rows; absent: event time alone decides."""

    def rules(self) -> Iterator[Rule]:
        """Yield what would hold a change back for ever."""
        if self.duration is None and self.records is None:
            yield Rule((), "adopt_after says nothing: give duration, records, or both")


Adopt: TypeAlias = Annotated[AdoptAfter, BeforeValidator(_duration, json_schema_input_type=AdoptAfter | str | float)]


class Learning(Section):
    """The detector's memory and its schedules."""

    window: Window = Window()
    """What it remembers."""
    refresh_every: Int = Field(default=100, ge=1)
    """Learnt rows between two refreshes (a few EM passes on the serving model) of `committee: single`."""
    refit_every: RefitEvery = RefitEvery()
    """When a candidate of `committee: single` is fitted, which must be promoted to serve."""
    adaptation: Literal["stable", "balanced", "fast"] = "balanced"
    """How soon a lasting change replaces what was learnt before it."""
    learn_flagged: Literal["accept", "down_weight", "exclude"] = "accept"
    """What single flagged rows teach: as much as others, a tenth of it, or nothing."""
    adopt_after: Adopt | None = None
    """How long a sustained change is held back before it is learnt: a duration, or duration and records."""
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


class IncidentGap(Section):
    """Flagged rows that follow each other within this are one incident."""

    duration: Seconds = 300.0
    """Event time."""
    records: Int = Field(default=100, ge=1)
    """Rows, where there is no event time."""


Gap: TypeAlias = Annotated[IncidentGap, BeforeValidator(_duration, json_schema_input_type=IncidentGap | str | float)]


class FieldRule(Section):
    """What a column must do to be worth a flag, in its own unit."""

    direction: Literal["high", "low", "both"] = "both"
    """On which side of its expected value it must be."""
    min_deviation: Float = Field(default=0.0, ge=0)
    """How far from its expected value it must be."""


FieldRules: TypeAlias = dict[Text, FieldRule]


class Detection(Section):
    """Which rows are flagged, and which belong together."""

    target_rate: Float = Field(default=0.001, ge=1e-9, le=0.5)
    """Share of rows to flag."""
    level: Literal["fixed", "adaptive"] = "adaptive"
    """Whether the level follows the realised rate."""
    log_density_below: Float | None = None
    """Flag the rows whose log-density (nats) is below this, instead of a share of them."""
    buffer: Int | None = Field(default=None, ge=10)
    """Scores that p-values are ranked in; absent: 5000 or 10 / target_rate, whichever is more."""
    incident_gap: Gap = IncidentGap()
    """How far apart the flagged rows of one incident may be: a duration, or duration and records."""
    fields: FieldRules = Field(default_factory=dict, max_length=1024)
    """Rules by column: a row is flagged only if a column that leads to it keeps its rule, or has none."""

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
        """Yield a level that decides nothing, and a buffer that cannot hold the target rate."""
        if self.log_density_below is not None and "level" in self.model_fields_set:
            yield Rule(
                ("level",), "level has no effect beside log_density_below, which decides alone: give one of them"
            )
        if self.buffer is not None and self.buffer < self.needed_scores:
            yield Rule(
                ("buffer",),
                f"buffer ({self.buffer}) is below 1 / target_rate ({self.needed_scores}): "
                "no rank in it could reach the target rate",
            )
