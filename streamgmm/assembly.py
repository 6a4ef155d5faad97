"""From a configuration to the pure values that daemon and library share: derived columns and engine settings.

`wiring` beside this one makes the settings of everything that touches the outside world.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from streamgmm.checkpoint import Identity
from streamgmm.config.members import MarginalsMember, TemporalMember
from streamgmm.engine.policy import AdoptAfter
from streamgmm.engine.rules import FieldRule
from streamgmm.engine.settings import EngineSettings
from streamgmm.errors import ConfigError
from streamgmm.features import Pipeline
from streamgmm.refit.job import MemberSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamgmm.config import Config
    from streamgmm.config.learning import AdoptAfter as AdoptAfterSection
    from streamgmm.config.learning import Model
    from streamgmm.config.members import MixtureMember
    from streamgmm.records import Json


# Seconds. A fit looks at its own deadline between two passes only, so the supervisor allows for a long pass more.
LONGEST_PASS = 120.0


def deadlines(config: Config) -> dict[str, float]:
    """Return for how many seconds each part of the daemon may be at work, as far as the configuration says."""
    limits = config.limits
    parts = dict.fromkeys(("decode", "features", "score", "render"), limits.loop_deadline)
    parts |= dict.fromkeys(("deliver", "commit"), limits.sink_deadline)
    return parts | {"refit": config.learning.refit_deadline + LONGEST_PASS}


def pipeline(config: Config, inputs: Sequence[str]) -> Pipeline:
    """Build the derived columns over the input fields, and the hidden ones that a temporal member sees."""
    shown = Pipeline.build(feature_specs(config), inputs, config.limits.keys)
    temporal = config.committee.get("temporal")
    if not isinstance(temporal, TemporalMember):
        return shown
    measured = set(inputs) - set(categories(config))
    columns = [j for j, name in enumerate(shown.names) if name in measured]
    return shown.with_history(columns, temporal.half_life)


def feature_specs(config: Config) -> list[dict[str, Json]]:
    """Return the derived columns' declarations as plain values."""
    return [feature.model_dump(mode="json", exclude_none=True) for feature in config.features]


def engine_settings(
    config: Config, columns: Sequence[str], categories: Sequence[str] = (), stems: tuple[int, ...] = ()
) -> EngineSettings:
    """Collect what the engine is told.

    Parameters
    ----------
    columns
        After the derived ones.
    categories
        Input fields that hold categories; those among the columns are encoded by the fitted view.
    stems
        Of each hidden column, the shown one that it stems from; without any there is no temporal member.
    """
    learning, detection = config.learning, config.detection
    category_columns = tuple(i for i, name in enumerate(columns) if name in set(categories))
    return EngineSettings(
        names=tuple(columns),
        members=tuple(
            _seeing(_choosing(config, _member(config.model, name, member, category_columns)), len(columns), stems)
            for name, member in config.committee.items()
            if stems or name != "temporal"
        ),
        stems=stems,
        min_records=config.min_records,
        span=learning.window.span,
        step=config.step,
        adaptation=learning.adaptation,
        learn_flagged=learning.learn_flagged,
        adopt_after=_adopt_after(learning.adopt_after),
        target_rate=detection.target_rate,
        level=detection.level,
        log_density_below=detection.log_density_below,
        buffer=detection.buffer_rows(config.limits.calibration_rows),
        incident_seconds=detection.incident_gap.duration,
        incident_rows=detection.incident_gap.records,
        challenger_every=learning.challenger_every,
        refit_deadline=learning.refit_deadline,
        seed=learning.seed,
        rules=field_rules(config, columns),
    )


def _adopt_after(given: AdoptAfterSection | None) -> AdoptAfter | None:
    return None if given is None else AdoptAfter(given.records or math.inf, given.duration or math.inf)


def field_rules(config: Config, columns: Sequence[str]) -> dict[str, FieldRule]:
    """Return what single columns must do to be worth a flag."""
    for name in config.detection.fields:
        if name not in columns:
            raise ConfigError(f"detection.fields: there is no column {name!r}", hint=f"columns: {', '.join(columns)}")
    return {name: FieldRule(rule.direction, rule.min_deviation) for name, rule in config.detection.fields.items()}


def _member(
    model: Model, name: str, member: MixtureMember | MarginalsMember, category_columns: tuple[int, ...]
) -> MemberSettings:
    common = MemberSettings(
        name=name,
        n_components=member.n_components,
        window=member.window,
        refresh_every=member.refresh_every,
        refit_every=member.refit_every.records,
        refit_seconds=member.refit_every.duration or math.inf,
        category_columns=category_columns,
        count_few=model.count_few_values,
        scaling=model.scaling,
    )
    if isinstance(member, TemporalMember):
        return replace(common, kind="marginals", weight=member.weight)
    if isinstance(member, MarginalsMember):
        return replace(common, kind="marginals")
    return replace(
        common,
        covariance_type=member.covariance_type,
        shrinkage=member.shrinkage,
        pca_components=None if model.pca is None else model.pca.n_components,
        pca_share=None if model.pca is None else model.pca.explained_variance,
    )


def _seeing(member: MemberSettings, n_columns: int, stems: tuple[int, ...]) -> MemberSettings:
    """Let a temporal member see the hidden columns, and any other the shown ones."""
    if member.name == "temporal":
        return replace(member, stems=stems, category_columns=())
    return replace(member, n_columns=n_columns if stems else 0)


def _choosing(config: Config, member: MemberSettings) -> MemberSettings:
    """Let a fit from nothing choose the size, where the configuration gives a range."""
    size = config.model.n_components
    if isinstance(size, int):
        return member
    return replace(member, fewest_components=size.min, choose_by=size.choose_by)


def categories(config: Config) -> tuple[str, ...]:
    """Return the input fields that are declared as categories."""
    fields = () if config.codec is None else config.codec.fields
    return tuple(f.name for f in fields if not isinstance(f, str) and f.type == "category")


def identity(config: Config, columns: Pipeline) -> Identity:
    """Return what a snapshot must have in common with the configuration."""
    if config.codec is None:
        raise ConfigError("there is no codec", hint='add the section "codec"')
    return Identity(
        config.codec.names, columns.names, config.codec.type, column_specs(config, columns), categories(config)
    )


def column_specs(config: Config, columns: Pipeline) -> list[Mapping[str, Json]]:
    """Return the declarations of all columns, the hidden ones included, as plain values."""
    return [*feature_specs(config), *([] if columns.history is None else [columns.history])]
