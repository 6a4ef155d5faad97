"""The loop on memory plug-ins: everything a daemon does but the daemon, its broker and its disk."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import numpy as np

from streamgmm import checkpoint, registry
from streamgmm.checkpoint import Identity
from streamgmm.codecs import CodecSettings, Field
from streamgmm.delivery import Delivery, Outlet
from streamgmm.engine.core import Engine
from streamgmm.engine.settings import EngineSettings
from streamgmm.features import Pipeline
from streamgmm.loop import Loop
from streamgmm.paging import Paging
from streamgmm.records import TopicPartition
from streamgmm.refit.job import MemberSettings
from streamgmm.refit.runners import InlineRunner
from streamgmm.rendering import Rendering
from streamgmm.sinks.memory import MemorySink
from streamgmm.sources import Resume
from streamgmm.sources.memory import MemoryLog, MemorySettings, Record, build

if TYPE_CHECKING:
    from streamgmm.checkpoint import Restored
    from streamgmm.snapshots import Snapshot

NAMES = ("a", "b", "c")
COLUMNS = (*NAMES, "a.difference")
FEATURES = [{"type": "difference", "fields": ["a"]}]
PARTITIONS = (TopicPartition("rows", 0), TopicPartition("rows", 1))
SETTINGS = EngineSettings(
    COLUMNS,
    members=(MemberSettings(n_components=2, window=300, refresh_every=50, refit_every=400),),
    min_records=200,
    span=30.0,
    step=50,
    target_rate=0.01,
    buffer=500,
    challenger_every=2,
)


def rows(rng, n):
    """Two modes that drift, and now and then something far away."""
    X = rng.normal(size=(n, 3)) + np.where(rng.random((n, 1)) < 0.5, 0.0, 4.0) + np.linspace(0.0, 1.0, n)[:, None]
    X[rng.random(n) < 0.004] += 15.0
    return X


def packed(X):
    """Return one record's payload for the codec `float64`."""
    return X.astype("<f8").tobytes()


def as_json(x):
    """Return one record's payload for the codec `json`."""
    return json.dumps(dict(zip(NAMES, x.tolist(), strict=True))).encode()


def logs(X, *, poison=False, times=False, partitions=PARTITIONS):
    """Deal rows out to partitions, every third record with two of them; malformed payloads between them on request."""
    items = {tp: [] for tp in partitions}
    i = record = 0
    while i < len(X):
        size = 2 if record % 3 == 0 else 1
        stamp = 1_700_000_000_000 + i * 40 if times else -1
        tp = partitions[record % len(partitions)]
        if poison and record % 17 == 0:
            items[tp].append(Record(b"short", None, stamp))
        items[tp].append(Record(packed(X[i : i + size]), None, stamp))
        i += size
        record += 1
    return MemoryLog(items)


class Rig:
    """One life of a daemon on a log. Keeps what it said of every row, every snapshot, and every report.

    Attributes
    ----------
    scores
        (topic, partition, offset, row) → log-density, p-value (bytes), flag, version, status; muted rows included.
    times_scored
        The same keys, as often as a row was scored.
    snapshots
        (snapshot, committed offsets at that moment) of every save.
    """

    def __init__(
        self,
        log: MemoryLog,
        block_sizes=(500,),
        restored: Restored | None = None,
        *,
        settings=SETTINGS,
        codec="float64",
        timestamp=None,
        runner=None,
        sinks=("anomalies",),
        feeds=(),
        dry_run=False,
        commit_interval=0.0,
        max_latency=0.0,
        save_interval=0.0,
        max_replay=10**9,
        interrupted=lambda: False,
        history=(),
    ) -> None:
        self.log, self.sink, self.letters = log, MemorySink("anomalies"), MemorySink("letters")
        self.scores, self.times_scored, self.snapshots, self.reports, self.saves = {}, {}, [], [], True
        self.codec = registry.member("codecs", codec).build(
            CodecSettings(tuple(Field(n, n) for n in NAMES), timestamp=timestamp)
        )
        features = Pipeline.build(FEATURES, NAMES).with_history(history, half_life=20)
        self.identity = Identity(NAMES, COLUMNS, codec, [*FEATURES, features.history] if history else FEATURES)
        self.source = build(MemorySettings(log, block_sizes))
        if restored is not None:
            features.restore(restored.features)
        outlets = (
            [] if dry_run else [*(Outlet(self.sink, takes) for takes in sinks), Outlet(self.letters, "dead_letters")]
        )
        self.delivery = Delivery(
            self.source,
            outlets,
            commit_interval=commit_interval,
            max_latency=max_latency,
            now=time.monotonic,
            interrupted=interrupted,
            stuck_after=0.0,
            sleep=lambda _: None,
        )
        self.engine = Engine(settings, runner or InlineRunner(time.monotonic), restored.state if restored else None)
        self.pages = Paging(feeds)
        self.pages.restore(restored.pages if restored is not None else {})
        takes = frozenset(o.takes for o in outlets)
        self.renderer = Rendering(self.codec, COLUMNS, takes, lambda _: None, self.pages)
        self.loop = Loop(
            source=self.source,
            codec=self.codec,
            features=features,
            engine=self.engine,
            delivery=self.delivery,
            render=self._render,
            observe=self.reports.append,
            now=time.monotonic,
            clock=lambda: 1.8e9,
            save_state=None if dry_run else self._save,
            save_interval=save_interval,
            pages=self.pages,
            until_end=True,
        )
        self.source.start(Resume(restored.covered if restored else {}, max_replay))

    def run(self) -> Rig:
        """Turn until the end of the log."""
        self.loop.run(lambda: False)
        return self

    def restored(self, snapshot: Snapshot) -> Restored:
        """Return what a rig that goes on from a snapshot of this one is given."""
        return checkpoint.unpack(snapshot, self.engine.settings, self.identity)

    def events(self, kind):
        """Return the events of one kind, in order."""
        return [event for report in self.reports for event in report.events if event.kind == kind]

    def anomalies(self):
        """Return the anomaly records that are durable, parsed."""
        return [json.loads(record.value) for record in self.sink.records]

    def _render(self, batch, fields, columns, part, scored):
        for i in range(len(scored)):
            at = part.rows.start + i
            record = int(fields.record[at])
            where = (*batch.topic_partition(record), int(batch.offset[record]), int(fields.row[at]))
            self.times_scored[where] = self.times_scored.get(where, 0) + 1
            self.scores[where] = (
                scored.log_density[i].tobytes(),
                scored.p_value[i].tobytes(),
                bool(scored.is_anomaly[i]),
                tuple(scored.version[i]),
                int(scored.status[i]),
            )
        return self.renderer(batch, fields, columns, part, scored)

    def _save(self, state, features, covered, pages):
        if not self.saves:
            return False
        self.snapshots.append(
            (checkpoint.pack(state, features, covered, self.identity, "now", pages), dict(self.log.committed))
        )
        return True
