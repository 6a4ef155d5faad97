"""From history to a snapshot that a daemon continues from: the engine's own first fit, on all rows of a table."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from streamgmm import assembly, checkpoint
from streamgmm.codecs import CodecSettings, Field, Timestamp
from streamgmm.config.codecs import FieldSpec
from streamgmm.detector.committee import Detector
from streamgmm.detector.readings import measured
from streamgmm.detector.view import View
from streamgmm.engine.calibration import Calibration
from streamgmm.engine.state import State
from streamgmm.engine.verdicts import comparable_for
from streamgmm.engine.window import Block
from streamgmm.errors import FitError, StopError
from streamgmm.mixture import selection
from streamgmm.offline.mixtures import from_columns
from streamgmm.records import Version, as_features
from streamgmm.refit.fitting import protection
from streamgmm.stream_detector import StreamDetector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from streamgmm.checkpoint import Identity
    from streamgmm.config import Config
    from streamgmm.engine.settings import EngineSettings
    from streamgmm.features import Pipeline
    from streamgmm.mixture.parameters import MixtureParameters
    from streamgmm.refit.fitting import OnPass
    from streamgmm.snapshots import Snapshot

    Floats = NDArray[np.float64]

MIN_ROWS = 10


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fitted detector with the stream state that a daemon starts from.

    Attributes
    ----------
    state
        Of the engine, with window and calibration.
    features
        State of the derived columns after the last row.
    """

    state: State
    features: dict[str, NDArray[np.generic]]
    identity: Identity

    def snapshot(self, created: str) -> Snapshot:
        """Return it as a snapshot that covers no offset: a daemon that starts from it reads where its group stands."""
        return checkpoint.pack(self.state, self.features, {}, self.identity, created)


def asked(config: Config) -> CodecSettings | None:
    """Return what a configuration reads of a table: its fields, event time and envelope; None where it names none."""
    section = config.codec
    if section is None:
        return None
    fields = tuple(
        Field(f.name, f.path, f.type) if isinstance(f, FieldSpec) else Field(f, f, "number") for f in section.fields
    )
    time = getattr(section, "timestamp", None)
    timestamp = None if time is None else Timestamp(time.path, time.unit)
    return CodecSettings(fields, timestamp, unwrap=getattr(section, "unwrap", None))


def named(fields: Sequence[str], categories: Sequence[str] = ()) -> CodecSettings:
    """Return what reads fields by their names."""
    return CodecSettings(tuple(Field(name, name, "category" if name in categories else "number") for name in fields))


def identity(config: Config, columns: Pipeline) -> checkpoint.Identity:
    """Return what a daemon must share with the snapshot; without a codec, that it reads these fields as JSON."""
    if config.codec is not None:
        return assembly.identity(config, columns)
    return checkpoint.Identity(columns.inputs, columns.names, "json", assembly.column_specs(config, columns))


def fit(
    config: Config,
    fields: Sequence[str],
    X: Floats,
    t: Floats | None = None,
    on_pass: OnPass | None = None,
    *,
    keys: Sequence[bytes | None] | None = None,
) -> Fitted:
    """Fit as the engine does at its start, once, after the last row.

    Parameters
    ----------
    fields
        Names of the columns of X.
    X
        (n, len(fields)), in the order of the stream; NaN is missing, a category is the codec's number for it.
    t
        (n,) event times, seconds.
    keys
        The n keys that keep the state of derived columns apart.

    Raises
    ------
    StopError
        Too few rows.
    FitError
        The fit collapsed.
    """
    columns = assembly.pipeline(config, fields)
    settings = assembly.engine_settings(config, columns.names, assembly.categories(config), columns.stems)
    settings = replace(settings, refit_deadline=math.inf)
    _enough(X)
    detector = StreamDetector(settings, columns, warm_up=len(X), explain=False, on_pass=on_pass)
    detector.process(X, t, keys)
    state = detector.engine.state
    if state.detector is None:
        said = [str(event.fields["message"]) for event in detector.engine.events() if "message" in event.fields]
        raise FitError(
            f"the fit failed: {said[-1] if said else 'no row was left to learn'}",
            hint="try fewer components (model.n_components) or more rows",
        )
    return Fitted(state, columns.state(), identity(config, columns))


def adopt(
    config: Config,
    params: MixtureParameters,
    fields: Sequence[str],
    X: Floats | None = None,
    t: Floats | None = None,
) -> Fitted:
    """Make a detector of a mixture that was fitted elsewhere, in the units of the columns.

    It scores alone: as `committee: single`, unless the configuration has another committee of one.

    Parameters
    ----------
    X, t
        Rows (n, len(fields)), and times (n,), that it was not fitted to: they fill the window and the calibration.
        Without them there are no p-values until the daemon has scored some.

    Raises
    ------
    StopError
        The configuration's columns are not as many as the mixture's features, or hold categories; or its numbers are
        too large to calculate with.
    """
    categories = assembly.categories(config)
    if categories:
        raise StopError(
            f"the field {categories[0]!r} is a category, but an imported mixture has numeric columns only",
            hint="leave it out of codec.fields",
        )
    if "committee" not in config.model.model_fields_set:
        config = config.model_copy(update={"model": config.model.model_copy(update={"committee": ("single",)})})
    columns = assembly.pipeline(config, fields)
    if len(columns.names) != params.n_features:
        raise StopError(
            f"the mixture has {params.n_features} features, the configuration {len(columns.names)} columns",
            hint=f"the columns are {', '.join(columns.names)}",
        )
    settings = assembly.engine_settings(config, columns.names)
    if len(settings.members) > 1 or settings.members[0].kind != "mixture":
        raise StopError(
            "the configuration has a committee, but an import contains one mixture",
            hint="use a configuration with model: {committee: single}",
        )
    detector = Detector((from_columns(params, settings.members[0].name),), Version(1, 0))
    state = State.fresh(settings)
    state.detector = detector
    if X is not None:
        _take(state, settings, detector, columns.apply(as_features(X, columns.n_inputs), t), t)
    State.from_arrays(settings, *state.to_arrays())  # what cannot be loaded again is not written
    return Fitted(state, columns.state(), identity(config, columns))


def _take(state: State, settings: EngineSettings, detector: Detector, X: Floats, t: Floats | None) -> None:
    """Fill the window and the calibration with columns (n, d), as the engine would: rows without any cell aside."""
    holds = ~np.isnan(X).all(axis=1)
    rows, times = X[holds], (np.full(len(X), np.nan) if t is None else t)[holds]
    scores, absent = detector.log_density(rows), np.isnan(rows)
    state.window = state.window.add(Block.seal(rows, times))
    if absent.any():
        state.comparable = comparable_for(state, settings, detector, absent)
        scores = scores + state.comparable.correction(scores, absent, state.comparable.keys(absent))
    state.calibration = Calibration.of(settings.calibration_rows, scores)


def select(
    config: Config,
    fields: Sequence[str],
    X: Floats,
    n_components: Sequence[int],
    covariance_types: Sequence[str],
    rng: np.random.Generator,
    *,
    max_rows: int = selection.MAX_ROWS,
    on_pass: selection.OnPass | None = None,
    n_threads: int = 1,
    t: Floats | None = None,
) -> selection.Selection:
    """Try sizes and shapes on what the detector would fit: derived columns, scaled and clipped, protected as it is.

    Densities are per scaled unit, which shifts every row of the table alike.

    Raises
    ------
    StopError
        Too few rows, or nothing to try.
    """
    columns, categories = assembly.pipeline(config, fields), assembly.categories(config)
    members = assembly.engine_settings(config, columns.names).members
    member = next((m for m in members if m.kind == "mixture"), members[0])
    _enough(X)
    fitted = [j for j, name in enumerate(columns.names) if name not in categories]  # categories are counted
    if not fitted:
        raise StopError(
            f"the field {categories[0]!r} is a category, and there is no other column",
            hint="categories are counted, not fitted: add numeric fields",
        )
    rows = columns.apply(as_features(X, columns.n_inputs), t)[:, fitted]
    rows = rows[~np.isnan(rows).all(axis=1)]
    rows = measured(rows)
    return selection.select(
        View.fit(rows, member.clip, ()).apply(rows),
        n_components,
        covariance_types,
        rng,
        protection=protection(member),
        max_rows=max_rows,
        on_pass=on_pass,
        n_threads=n_threads,
    )


def _enough(X: Floats) -> None:
    known = int((~np.isnan(X).all(axis=1)).sum())
    if known < MIN_ROWS:
        raise StopError(f"{known} rows with values are too few for a fit", hint=f"give at least {MIN_ROWS}")
