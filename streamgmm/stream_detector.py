"""`StreamDetector`: the engine of the daemon without Kafka. Results are deterministic for a given seed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from streamgmm import assembly
from streamgmm.config import load, parse
from streamgmm.engine.core import Engine
from streamgmm.engine.drive import drive
from streamgmm.engine.thinning import row_hashes, stream_hash
from streamgmm.errors import ConfigError, DetectorError
from streamgmm.features import Pipeline
from streamgmm.mixture import validation
from streamgmm.records import ByteColumn, ScoredBatch, as_features
from streamgmm.refit.runners import InlineRunner

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from numpy.typing import ArrayLike, NDArray

    from streamgmm.engine.settings import EngineSettings
    from streamgmm.records import Json
    from streamgmm.refit.fitting import OnPass

    Floats = NDArray[np.float64]

STREAM = stream_hash("rows")
YEAR_10000 = 253_402_300_800


class StreamDetector:
    """Scores rows and learns them afterwards. Refits run in the calling thread.

    Parameters
    ----------
    settings
        Settings of the engine. `names` are the columns after `features`.
    features
        Derived columns. Default: none.
    warm_up
        Number of first rows that are learnt and not scored. Default: until `settings.min_records` rows are learnt.
    explain
        Whether flagged rows are explained (`ScoredBatch.anomalies`).
    on_pass
        Called after every EM pass of a fit with its number and its lower bound (nats per row).

    Examples
    --------
    >>> detector = StreamDetector.from_config({"codec": {"type": "json", "fields": ["a", "b"]}})
    >>> scored = detector.process(np.random.default_rng(0).normal(size=(1200, 2)))
    >>> int((scored.status == 0).sum())
    200
    """

    def __init__(
        self,
        settings: EngineSettings,
        features: Pipeline | None = None,
        *,
        warm_up: int | None = None,
        explain: bool = True,
        on_pass: OnPass | None = None,
    ) -> None:
        self.engine = Engine(settings, InlineRunner(time.monotonic, on_pass), warm_up=warm_up, explain=explain)
        self.features = features or Pipeline.identity(settings.names)
        self._rows = 0

    @classmethod
    def from_config(
        cls,
        config: Mapping[str, Json] | str | PathLike[str],
        *,
        fields: Sequence[str] | None = None,
        warm_up: int | None = None,
        seed: int | None = None,
        explain: bool = True,
    ) -> StreamDetector:
        """Return a detector for a configuration (a mapping or a YAML file). Source and sinks are optional.

        Parameters
        ----------
        fields
            Names of the input columns, if the configuration has no `codec.fields`.
        seed
            Seed, instead of `learning.seed`.

        Raises
        ------
        ConfigError
            The configuration is invalid (the message lists every problem), or the fields have no names.
        """
        loaded = parse(config, require=()) if isinstance(config, Mapping) else load(Path(config), require=())
        names = fields if loaded.codec is None else loaded.codec.names
        if names is None:
            raise ConfigError("the fields have no names", hint="give codec.fields")
        columns = assembly.pipeline(loaded, names)
        settings = assembly.engine_settings(loaded, columns.names, assembly.categories(loaded), columns.stems)
        if seed is not None:
            settings = replace(settings, seed=seed)
        return cls(settings, columns, warm_up=warm_up, explain=explain)

    def process(
        self, X: ArrayLike, t: ArrayLike | None = None, keys: Sequence[str | bytes | None] | None = None
    ) -> ScoredBatch:
        """Score rows and then learn them.

        Parameters
        ----------
        X : (n, n_fields)
            Rows; NaN is missing. Columns of a data frame are selected by name.
        t : (n,), optional
            Event times: seconds since the epoch, or datetimes. Without them every row enters the window.
        keys : n strings or bytes, optional
            Key of each row. Derived columns keep state per key. Rows with None share one state.

        Returns
        -------
        ScoredBatch
            One entry per row, in order.
        """
        fields = self._fields(X)
        times = _times(t, len(fields))
        columns = self.features.apply(fields, times, _keys(keys, len(fields)))
        offsets = np.arange(self._rows, self._rows + len(columns), dtype=np.int64)
        self._rows += len(columns)
        streams = np.full(len(columns), STREAM, dtype=np.uint64)
        numbers = np.arange(len(columns), dtype=np.int64)
        hashes = row_hashes(streams, offsets, numbers, np.zeros_like(numbers))
        parts = [scored for _, scored in drive(self.engine, columns, times, hashes)]
        return ScoredBatch.concatenate(parts or [self.engine.step(columns, times, hashes)])

    def decision_function(self, X: ArrayLike, t: ArrayLike | None = None, keys: Sequence[str] | None = None) -> Floats:
        """Return log p(x) − threshold (n,), nats. It is negative for outliers. Nothing is learnt."""
        columns = self._columns(X, t, keys)
        return self.engine.log_density(columns) - self.engine.status().threshold

    def predict(self, X: ArrayLike, t: ArrayLike | None = None, keys: Sequence[str] | None = None) -> NDArray[np.int64]:
        """Return −1 for outliers and 1 for inliers (n,). Nothing is learnt."""
        return np.where(self.decision_function(X, t, keys) < 0.0, -1, 1)

    def _fields(self, X: ArrayLike) -> Floats:
        """Return rows (n, n_fields): columns of a data frame by name, those of other arrays by position."""
        names = validation.column_names(X)
        if names is not None:
            absent = [name for name in self.features.inputs if name not in names]
            if absent:
                raise DetectorError(
                    f"X has no column {absent[0]!r}: it has {', '.join(names[:20])}",
                    hint="rename its columns, or pass X.to_numpy() to select them by position",
                )
            X = X[list(self.features.inputs)]  # type: ignore[index,call-overload]  # a data frame
        return as_features(validation.numbers(X), self.features.n_inputs)

    def _columns(self, X: ArrayLike, t: ArrayLike | None, keys: Sequence[str] | None) -> Floats:
        fields = self._fields(X)
        before = self.features.state()
        columns = self.features.apply(fields, _times(t, len(fields)), _keys(keys, len(fields)))
        self.features.restore(before)
        return columns


def _keys(keys: Sequence[str | bytes | None] | None, n: int) -> ByteColumn | None:
    if keys is not None and len(keys) != n:
        raise DetectorError(f"there are {len(keys)} keys, but X has {n} rows", hint="one key per row")
    if keys is None:
        return None
    return ByteColumn.from_values([k if isinstance(k, bytes | None) else str(k).encode() for k in keys])


def _times(t: ArrayLike | None, n: int) -> Floats:
    if t is None:
        return np.full(n, np.nan)
    times = np.ascontiguousarray(_seconds(t), dtype=np.float64)
    if times.shape != (n,):
        raise DetectorError(f"t has shape {times.shape}, but X has {n} rows", hint="one event time (seconds) per row")
    if (times >= YEAR_10000).any():
        raise DetectorError(f"t holds {times.max():g}, which is after the year 9999", hint="give seconds, not ms or ns")
    return times


def _seconds(t: ArrayLike) -> NDArray[Any]:
    """Return seconds since the epoch. Datetimes without a time zone are UTC; numbers are returned unchanged."""
    times = np.asarray(t)
    if times.dtype.kind == "M":
        return np.where(np.isnat(times), np.nan, (times - np.datetime64(0, "s")) / np.timedelta64(1, "s"))
    if times.dtype.kind == "O":
        return np.array([_moment(value) for value in times.ravel()]).reshape(times.shape)
    if times.dtype.kind not in "fiub":
        raise DetectorError(
            f"t holds {times.dtype}, not event times", hint="give seconds since the epoch, or datetimes"
        )
    return np.ma.filled(np.ma.asarray(t, dtype=np.float64), np.nan) if np.ma.isMaskedArray(t) else times


def _moment(value: Any) -> float:  # noqa: ANN401 - whatever an array of objects holds
    if value is None or value != value:  # noqa: PLR0124 - NaN and NaT
        return float("nan")
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    try:
        return float(value)
    except (TypeError, ValueError):
        raise DetectorError(f"t holds {value!r:.60}", hint="give seconds since the epoch, or datetimes") from None
