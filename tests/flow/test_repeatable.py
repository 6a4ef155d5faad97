"""The same rows give the same bits: whatever the block sizes, with poison between them, and after any restart."""

import time

import numpy as np
import pytest

from streamgmm import checkpoint
from streamgmm.checkpoint import Identity
from streamgmm.codecs import CodecSettings, Field
from streamgmm.codecs import float64 as codec
from streamgmm.delivery import Delivery, Outlet
from streamgmm.engine.core import Engine
from streamgmm.engine.settings import EngineSettings
from streamgmm.features import Pipeline
from streamgmm.loop import Loop
from streamgmm.records import TopicPartition
from streamgmm.refit.job import MemberSettings
from streamgmm.refit.runners import InlineRunner
from streamgmm.rendering import Rendering
from streamgmm.sinks.memory import MemorySink
from streamgmm.sources import Resume
from streamgmm.sources.memory import MemoryLog, MemorySettings, Record, build

NAMES = ("a", "b", "c")
COLUMNS = (*NAMES, "a.difference")
FEATURES = [{"type": "difference", "fields": ["a"]}]
IDENTITY = Identity(NAMES, COLUMNS, "float64", FEATURES)
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
PARTITIONS = (TopicPartition("rows", 0), TopicPartition("rows", 1))


def rows(rng, n):
    """Two modes that drift, and now and then something far away; every third record holds two vectors."""
    X = rng.normal(size=(n, 3)) + np.where(rng.random((n, 1)) < 0.5, 0.0, 4.0) + np.linspace(0.0, 1.0, n)[:, None]
    X[rng.random(n) < 0.004] += 15.0
    return X


def logs(X, *, poison=False, times=False, partitions=PARTITIONS):
    """Deal the rows out to partitions; malformed payloads stand between them on request."""
    items = {tp: [] for tp in partitions}
    i = record = 0
    while i < len(X):
        size = 2 if record % 3 == 0 else 1
        stamp = 1_700_000_000_000 + i * 40 if times else -1
        tp = partitions[record % len(partitions)]
        if poison and record % 17 == 0:
            items[tp].append(Record(b"short", None, stamp))
        items[tp].append(Record(X[i : i + size].astype("<f8").tobytes(), None, stamp))
        i += size
        record += 1
    return MemoryLog(items)


class Rig:
    """The loop on memory plug-ins; keeps every row's scores by where the row stood, and every snapshot."""

    def __init__(self, log, block_sizes=(500,), restored=None, settings=SETTINGS):
        self.log, self.sink, self.letters = log, MemorySink("anomalies"), MemorySink("letters")
        self.scores, self.snapshots, self.reports = {}, [], []
        source = build(MemorySettings(log, block_sizes))
        decoder = codec.build(CodecSettings(tuple(Field(n, n) for n in NAMES)))
        features = Pipeline.build(FEATURES, NAMES)
        if restored is not None:
            features.restore(restored.features)
        outlets = [Outlet(self.sink, "anomalies"), Outlet(self.letters, "dead_letters")]
        self.delivery = Delivery(source, outlets, commit_interval=0.0, now=time.monotonic)
        self.engine = Engine(settings, InlineRunner(time.monotonic), restored.state if restored else None)
        self.renderer = Rendering(decoder, COLUMNS, frozenset({"anomalies", "dead_letters"}), lambda _: None)
        self.loop = Loop(
            source=source,
            codec=decoder,
            features=features,
            engine=self.engine,
            delivery=self.delivery,
            render=self._render,
            observe=self.reports.append,
            now=time.monotonic,
            clock=lambda: 0.0,
            save_state=self._save,
            save_interval=0.0,
            until_end=True,
        )
        source.start(Resume(restored.covered if restored else {}, 10**9))

    def run(self):
        self.loop.run(lambda: False)
        return self

    def _render(self, batch, fields, columns, part, scored):
        for i in range(len(scored)):
            at = part.rows.start + i
            record = int(fields.record[at])
            where = (*batch.topic_partition(record), int(batch.offset[record]), int(fields.row[at]))
            self.scores[where] = (
                scored.log_density[i].tobytes(),
                scored.p_value[i].tobytes(),
                bool(scored.is_anomaly[i]),
                tuple(scored.version[i]),
                int(scored.status[i]),
            )
        return self.renderer(batch, fields, columns, part, scored)

    def _save(self, state, features, covered):
        snapshot = checkpoint.pack(state, features, covered, IDENTITY, "now")
        self.snapshots.append((snapshot, dict(self.log.committed), len(self.scores)))
        return True


@pytest.fixture(name="X")
def stream(rng):
    return rows(rng, 2400)


@pytest.mark.parametrize("sizes", [(7, 1, 64), (499, 3), (10_000,)], ids=str)
@pytest.mark.parametrize("times", [False, True], ids=["untimed", "thinned"])
def test_block_sizes_change_nothing(X, sizes, times):
    whole = Rig(logs(X, times=times)).run()
    cut = Rig(logs(X, times=times), sizes).run()
    assert cut.scores == whole.scores
    assert [r.value for r in cut.sink.records] == [r.value for r in whole.sink.records]
    assert any(version[0] > 1 for *_, version, _ in whole.scores.values()), "nothing was promoted: the test is too easy"
    assert whole.sink.records


def test_poison_changes_nothing_but_itself(X):
    # One partition: poison moves the offsets on, and with two it would change which of them is read first.
    clean = Rig(logs(X, partitions=PARTITIONS[:1])).run()
    poisoned = Rig(logs(X, poison=True, partitions=PARTITIONS[:1]), (13, 200)).run()
    assert list(clean.scores.values()) == list(poisoned.scores.values())
    assert {r.value for r in poisoned.letters.records} == {b"short"}


@pytest.mark.parametrize("times", [False, True], ids=["untimed", "thinned"])
def test_a_restart_from_any_snapshot_goes_on_as_if_nothing_had_been(X, times):
    whole = Rig(logs(X, poison=True, times=times), (37, 250, 8)).run()
    assert len(whole.snapshots) > 20
    for snapshot, committed, _ in whole.snapshots[::5]:
        log = logs(X, poison=True, times=times)
        log.committed.update(committed)
        again = Rig(log, (61, 5), checkpoint.unpack(snapshot, SETTINGS, IDENTITY)).run()
        assert again.scores == {where: whole.scores[where] for where in again.scores}
        assert len(again.scores) < len(whole.scores) or not committed
        assert again.engine.state.rows_seen == whole.engine.state.rows_seen, "learnt twice, or not at all"


def test_an_older_snapshot_replays_up_to_the_committed_offsets_in_silence(X):
    whole = Rig(logs(X), (100,)).run()
    snapshot, _, _ = whole.snapshots[len(whole.snapshots) // 3]
    log = logs(X)
    log.committed.update(whole.log.committed)
    again = Rig(log, (100,), checkpoint.unpack(snapshot, SETTINGS, IDENTITY)).run()
    assert again.engine.state.rows_seen == whole.engine.state.rows_seen
    assert not again.sink.records
    assert not again.log.commits
    assert sum(r.replayed for r in again.reports) == len(again.scores)


def test_rows_add_up_and_commits_never_go_back(X):
    rig = Rig(logs(X, poison=True), (40,)).run()
    scored = sum(r.scored for r in rig.reports)
    unscored = sum(sum(r.unscored.values()) for r in rig.reports)
    rejected = sum(sum(r.rejected.values()) for r in rig.reports)
    poisonous = len(rig.letters.records)
    assert (scored + unscored, rejected) == (len(X), poisonous)
    for tp in PARTITIONS:
        offsets = [commit[tp] for commit in rig.log.commits if tp in commit]
        assert offsets == sorted(offsets)
        assert offsets[-1] == rig.log.end(tp)
