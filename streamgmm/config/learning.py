"""Sections of learning and detection: model, learning, detection."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, Tag, WithJsonSchema

from streamgmm.config.members import Committee, Members, RefitEvery
from streamgmm.config.section import Float, Int, Rule, Seconds, Section, Text, duplicates

if TYPE_CHECKING:
    from collections.abc import Iterator


class ComponentsRange(Section):
    """Range of component numbers. Each cold fit chooses a number. Warm refits keep it."""

    min: Int = Field(default=1, ge=1, le=256)
    """Smallest number of components."""
    max: Int = Field(default=8, ge=1, le=256)
    """Largest number of components."""
    choose_by: Literal["bic", "aic", "held_out"] = "bic"
    """Selection criterion: an information criterion, or the log-density of held-out rows."""

    def rules(self) -> Iterator[Rule]:
        """Yield an empty range."""
        if self.min > self.max:
            yield Rule(("min",), f"min ({self.min}) is above max ({self.max})")


def _number_or_range(value: Any) -> str:  # noqa: ANN401 - whatever the YAML holds
    return "range" if isinstance(value, (dict, ComponentsRange)) else "number"


Components: TypeAlias = Annotated[
    # pydantic's own schema of limits together with a tag is not valid JSON Schema.
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
    """Fits mixtures on principal components. The residual is modelled by one isotropic variance."""

    n_components: Int | None = Field(default=None, ge=1, le=4096)
    """Number of principal components."""
    explained_variance: Float | None = Field(default=None, gt=0, le=1)
    """Share of the variance that the principal components explain. Their number follows from it."""

    def rules(self) -> Iterator[Rule]:
        """Yield neither key or both keys."""
        if (self.n_components is None) == (self.explained_variance is None):
            yield Rule((), "pca takes either n_components or explained_variance")


class Model(Section):
    """The models that score rows: a committee, or one mixture."""

    committee: Committee = ("slow", "fast", "marginals", "temporal")
    """Members of the committee. Rows are scored by the weighted mean of their log-densities. `single`: one mixture."""
    count_few_values: bool = True
    """Whether numeric columns of at most 8 distinct values are modelled by value frequencies instead of Gaussians."""
    scaling: Literal["standard", "robust"] = "standard"
    """Scaling of columns: by mean and standard deviation, or by median and quantiles."""
    pca: Pca | None = None
    """Principal components of the mixtures. Default: none. `marginals` and `temporal` do not use them."""
    members: Members = Members()
    """Settings of single members. Default: those of the tables below."""
    n_components: Components = 4
    """Number of components of `single`, or a range."""
    covariance_type: Literal["full", "tied", "diag", "spherical"] = "full"
    """Covariances of `single`: one full matrix per component, one for all, diagonal, or one variance per component."""

    @property
    def most_components(self) -> int:
        """Return the number of components of `single`, or the largest number of its range."""
        return self.n_components.max if isinstance(self.n_components, ComponentsRange) else self.n_components

    @property
    def is_single(self) -> bool:
        """Return whether one mixture scores, with the settings in `model` and `learning`."""
        return self.committee == ("single",)

    def rules(self) -> Iterator[Rule]:
        """Yield repeated members, settings without effect, and keys that only `single` takes."""
        for position, name in duplicates(self.committee):
            yield Rule(("committee", position), f"{name!r} is named twice")
        if "single" in self.committee and not self.is_single:
            yield Rule(("committee",), "single excludes other members: give committee: single, or a list without it")
        if self.committee == ("temporal",):
            yield Rule(("committee",), "temporal does not model the row itself: add another member")
        if self.pca is not None and set(self.committee) <= {"marginals", "temporal"}:
            members = " and ".join(self.committee)
            yield Rule(("pca",), f"pca has no effect on {members}: they model each column separately")
        if not self.is_single:
            for key in ("n_components", "covariance_type"):
                if key in self.model_fields_set:
                    yield Rule((key,), beside_a_committee(key, f"model.members.<name>.{key}"))
        for name in sorted(self.members.model_fields_set - set(self.committee)):
            yield Rule(("members", name), f"{name!r} is not in the committee ({', '.join(self.committee)})")


def beside_a_committee(key: str, instead: str) -> str:
    """Return the message for a key of the single mixture that is given with a committee."""
    return f"{key} has no effect with a committee, whose members have their own: set {instead}, or committee: single"


def _duration(value: Any) -> Any:  # noqa: ANN401 - whatever the YAML holds
    return {"duration": value} if isinstance(value, (str, int, float)) and not isinstance(value, bool) else value


class Window(Section):
    """The window of rows that the detector learns from."""

    records: Int = Field(default=1000, ge=10, le=10_000_000)
    """Most rows in the window of `committee: single`. Other members have their own `window`."""
    span: Seconds = 600.0
    """Least event time that the window spans. On a fast stream only a share of the rows enters the window."""


class AdoptAfter(Section):
    """When a lasting change is learnt: after an event time or a number of rows, whichever comes first."""

    duration: Seconds | None = None
    """Event time. Default: not used."""
    records: Int | None = Field(default=None, ge=10)
    """Number of learnt rows. Default: not used."""

    def rules(self) -> Iterator[Rule]:
        """Yield settings that would never learn a change."""
        if self.duration is None and self.records is None:
            yield Rule((), "adopt_after is empty: give duration, records, or both")


Adopt: TypeAlias = Annotated[AdoptAfter, BeforeValidator(_duration, json_schema_input_type=AdoptAfter | str | float)]


class Learning(Section):
    """The window of the detector and its schedules."""

    window: Window = Window()
    """Size of the window of rows that the detector learns from."""
    refresh_every: Int = Field(default=100, ge=1)
    """Learnt rows between two refreshes of `committee: single`. A refresh is an EM pass of the serving model."""
    refit_every: RefitEvery = RefitEvery()
    """When a candidate of `committee: single` is fitted. It serves only after it was promoted."""
    adaptation: Literal["stable", "balanced", "fast"] = "balanced"
    """How soon a lasting change of the stream replaces older rows in the window."""
    learn_flagged: Literal["accept", "down_weight", "exclude"] = "accept"
    """Share of single flagged rows that enter the window: all, one in ten, or none."""
    adopt_after: Adopt | None = None
    """When a lasting change is learnt: a duration, or duration and records. Default: at once."""
    min_records: Int = Field(default=1000, ge=10)
    """Learnt rows before the first fit. Until then rows are unscored (`warming_up`)."""
    step: Int = Field(default=100, ge=1, le=100_000)
    """Learnt rows per step. Model and calibration change only at step ends."""
    challenger_every: Int = Field(default=5, ge=0)
    """Number of refits between two that also try a cold start. 0: never."""
    refit_deadline: Seconds = 60.0
    """Longest time of a fit. A fit that takes longer is refused (`deadline`)."""
    seed: Int = Field(default=0, ge=0, lt=2**63)
    """Seed of every random choice."""


class IncidentGap(Section):
    """Largest gap between two flagged rows of one incident."""

    duration: Seconds = 300.0
    """Gap in event time."""
    records: Int = Field(default=100, ge=1)
    """Gap in rows, for rows without an event time."""


Gap: TypeAlias = Annotated[IncidentGap, BeforeValidator(_duration, json_schema_input_type=IncidentGap | str | float)]


class FieldRule(Section):
    """Rule that a column must meet to justify a flag, in the unit of the column."""

    direction: Literal["high", "low", "both"] = "both"
    """Side of the expected value on which the value must be."""
    min_deviation: Float = Field(default=0.0, ge=0)
    """Least distance of the value from the expected value."""


FieldRules: TypeAlias = dict[Text, FieldRule]


class Detection(Section):
    """Which rows are flagged, and which of them form one incident."""

    target_rate: Float = Field(default=0.001, ge=1e-9, le=0.5)
    """Share of rows to flag."""
    level: Literal["fixed", "adaptive"] = "adaptive"
    """`adaptive`: the level moves until the share of flagged rows is `target_rate`. `fixed`: it is `target_rate`."""
    log_density_below: Float | None = None
    """Rows with a log-density (nats) below this are flagged. It replaces the level."""
    buffer: Int | None = Field(default=None, ge=10)
    """Size of the calibration buffer, in scores. Default: the larger of 5000 and 10 / `target_rate`."""
    incident_gap: Gap = IncidentGap()
    """Largest gap between two flagged rows of one incident: a duration, or duration and records."""
    fields: FieldRules = Field(default_factory=dict, max_length=1024)
    """Rules by column. A row keeps its flag if at least one leading column meets its rule or has none."""

    @property
    def needed_scores(self) -> int:
        """Return the least number of scores in which a rank can reach the target rate."""
        return math.ceil(round(1.0 / self.target_rate, 6))

    def buffer_rows(self, most: int) -> int:
        """Return the size of the calibration buffer; the default never exceeds `most`."""
        if self.buffer is not None:
            return self.buffer
        return min(most, max(5000, math.ceil(round(10.0 / self.target_rate, 6))))

    def rules(self) -> Iterator[Rule]:
        """Yield a level without effect, and a buffer that is too small for the target rate."""
        if self.log_density_below is not None and "level" in self.model_fields_set:
            yield Rule(("level",), "level has no effect together with log_density_below: give one of them")
        if self.buffer is not None and self.buffer < self.needed_scores:
            yield Rule(
                ("buffer",),
                f"buffer ({self.buffer}) is below 1 / target_rate ({self.needed_scores}): "
                "no rank in it could reach the target rate",
            )
