"""From a configuration to the pure values that daemon and library share: derived columns and engine settings.

`wiring` beside this one makes the settings of everything that touches the outside world.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from streamgmm.checkpoint import Identity
from streamgmm.engine.settings import EngineSettings
from streamgmm.errors import ConfigError
from streamgmm.features import Pipeline
from streamgmm.refit.job import MemberSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamgmm.config import Config
    from streamgmm.records import Json


def pipeline(config: Config, inputs: Sequence[str]) -> Pipeline:
    """Build the derived columns over the input fields."""
    return Pipeline.build(feature_specs(config), inputs)


def feature_specs(config: Config) -> list[dict[str, Json]]:
    """Return the derived columns' declarations as plain values."""
    return [feature.model_dump(mode="json", exclude_none=True) for feature in config.features]


def engine_settings(config: Config, columns: Sequence[str], categories: Sequence[str] = ()) -> EngineSettings:
    """Collect what the engine is told.

    Parameters
    ----------
    columns
        After the derived ones.
    categories
        Input fields that hold categories; those among the columns are encoded by the fitted view.
    """
    model, learning, detection = config.model, config.learning, config.detection
    member = MemberSettings(
        name="single",
        n_components=model.n_components,
        covariance_type=model.covariance_type,
        window=learning.window.records,
        refresh_every=learning.refresh_every,
        refit_every=learning.refit_every.records,
        refit_seconds=learning.refit_every.duration or math.inf,
        category_columns=tuple(i for i, name in enumerate(columns) if name in set(categories)),
    )
    return EngineSettings(
        names=tuple(columns),
        members=(member,),
        min_records=learning.min_records,
        span=learning.window.span,
        step=learning.step,
        target_rate=detection.target_rate,
        level=detection.level,
        buffer=detection.buffer_rows(config.limits.calibration_rows),
        incident_seconds=detection.incident_gap.duration,
        incident_rows=detection.incident_gap.records,
        challenger_every=learning.challenger_every,
        refit_deadline=learning.refit_deadline,
        seed=learning.seed,
    )


def categories(config: Config) -> tuple[str, ...]:
    """Return the input fields that are declared as categories."""
    fields = () if config.codec is None else config.codec.fields
    return tuple(f.name for f in fields if not isinstance(f, str) and f.type == "category")


def identity(config: Config, columns: Sequence[str]) -> Identity:
    """Return what a snapshot must have in common with the configuration."""
    if config.codec is None:
        raise ConfigError("nothing says how bytes become fields", hint='give the section "codec"')
    return Identity(config.codec.names, columns, config.codec.type, feature_specs(config))
