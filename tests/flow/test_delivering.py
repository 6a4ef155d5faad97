"""Nothing is committed before it is durable, and nothing is lost: poison, stuck sinks, refused commits, rebalances."""

import json

import msgspec
import numpy as np
import pytest
from rigs import NAMES, PARTITIONS, SETTINGS, Rig, as_json, logs, packed, rows

from streamgmm.errors import UndeliveredError
from streamgmm.records import Rebalance, TopicPartition
from streamgmm.sources.memory import LOST, PAUSE, Gap, MemoryLog, Record, Revoke

TP = PARTITIONS[0]


@pytest.fixture(name="X")
def stream(rng):
    return rows(rng, 1000)


def one_partition(values):
    return MemoryLog({TP: [v if not isinstance(v, bytes) else Record(v) for v in values]})


def watch(rig):
    """Check at every commit that everything below it is durable; return the commits seen."""
    seen, commit = [], rig.log.commit

    def checked(offsets):
        assert not rig.sink.pending
        assert not rig.letters.pending
        for tp, offset in offsets.items():
            done = {o for topic, partition, o, _ in rig.scores if (topic, partition) == tp}
            kept = {o: record.value for o in range(offset) if (record := rig.log.record(tp, o)) is not None}
            assert {o for o, value in kept.items() if value != b"short"} <= done, "committed ahead of what was scored"
        seen.append(dict(offsets))
        return commit(offsets)

    rig.log.commit = checked
    return seen


@pytest.mark.parametrize("sizes", [(1,), (50, 7), (10_000,)], ids=str)
def test_every_commit_follows_the_flush_of_what_it_covers(X, sizes):
    rig = Rig(logs(X, poison=True), sizes)
    commits = watch(rig)
    rig.run()
    assert commits
    assert rig.log.committed == {tp: rig.log.end(tp) for tp in PARTITIONS}


def test_poison_becomes_dead_letters_and_its_siblings_are_scored(X):
    missing = b'{"a": 1, "b": 2}'
    wrong = [b"", b"{", b"[1, 2]", b'{"a": "x", "b": 1, "c": 2}', b'{"a": 1e999, "b": 1, "c": 2}', b"\xff"]
    values = [as_json(x) for x in X]
    for i, payload in enumerate([*wrong, missing]):
        values.insert(300 + 3 * i, payload)
    rig = Rig(one_partition(values), (64,), codec="json").run()
    assert [r.value for r in rig.letters.records] == wrong
    assert sum(sum(r.rejected.values()) for r in rig.reports) == len(wrong)
    assert len(rig.scores) == len(X) + 1


def test_one_bad_vector_of_a_record_does_not_take_the_others_along(X):
    values = [packed(X[i : i + 2]) for i in range(0, 600, 2)]
    mixed = X[600:603].copy()
    mixed[1, 0] = float("inf")
    rig = Rig(one_partition([*values, packed(mixed)]), (40,)).run()
    offset = len(values)
    assert (*TP, offset, 0) in rig.scores
    assert (*TP, offset, 2) in rig.scores
    assert (*TP, offset, 1) not in rig.scores
    assert len(rig.letters.records) == 1


def test_a_row_with_a_missing_cell_is_scored_and_a_tombstone_is_not(X):
    values = [as_json(x) for x in X[:600]]
    values[400] = json.dumps(dict(zip(NAMES, [1.0, None, 2.0], strict=True))).encode()
    items = [*(Record(v) for v in values), Record(None, b"key")]
    rig = Rig(MemoryLog({TP: items}), (64,), codec="json").run()
    unscored = {}
    for report in rig.reports:
        for reason, n in report.unscored.items():
            unscored[reason] = unscored.get(reason, 0) + n
    assert unscored == {"warming_up": 200, "tombstone": 1}
    assert sum(r.scored for r in rig.reports) == 400


def test_a_sink_that_fails_for_a_while_delays_and_loses_nothing(X):
    calm, stuck = Rig(logs(X)).run(), Rig(logs(X))
    stuck.sink.fail_flushes(3)
    commits = watch(stuck)
    stuck.run()
    assert [r.value for r in stuck.sink.records] == [r.value for r in calm.sink.records]
    assert [len(stuck.events(kind)) for kind in ("sink_error", "sink_recovered")] == [1, 1], "a failure, not its tries"
    assert commits


def test_a_sink_that_stays_stuck_at_the_stop_leaves_its_rows_uncommitted(X):
    patience = iter([False, False])
    rig = Rig(logs(X), (50,), interrupted=lambda: next(patience, True))
    rig.loop.turn()
    rig.sink.hold()
    with pytest.raises(UndeliveredError, match="anomalies"):
        rig.run()
    assert len(rig.events("sink_error")) == 1, "told while it was stuck: its turn never ended"
    behind = sum(rig.reports[-1].lag.values())
    assert behind == sum(rig.log.end(tp) for tp in PARTITIONS) - sum(rig.log.committed.values())
    undelivered = {json.loads(r.value)["id"] for r in rig.sink.pending}
    assert undelivered
    for identity in undelivered:
        topic, partition, offset, _ = identity.split("/")
        assert int(offset) >= rig.log.committed.get(TopicPartition(topic, int(partition)), 0)
    again = Rig(rig.log, (50,), rig.restored(rig.snapshots[-1][0])).run()
    assert undelivered <= {a["id"] for a in again.anomalies()}


def test_a_refused_commit_is_made_up_for_and_nothing_is_saved_meanwhile(X):
    rig = Rig(logs(X), (50,))
    rig.log.refuse_commits(7)
    rig.run()
    assert [e.labels["outcome"] for e in rig.events("commit")].count("refused") == 7
    assert rig.log.committed == {tp: rig.log.end(tp) for tp in PARTITIONS}
    for snapshot, committed in rig.snapshots:
        for topic, partition, offset, *_ in snapshot.manifest["covered"]:
            assert offset <= committed.get(TopicPartition(topic, partition), 0), "covered ahead of what is committed"


def test_a_group_that_refuses_every_commit_gets_no_snapshot_and_its_rows_are_scored(X):
    rig = Rig(logs(X), (50,))
    rig.log.refuse_commits(10**9)
    rig.run()
    assert not rig.snapshots
    assert sum(r.scored for r in rig.reports) == len(X) - SETTINGS.min_records
    assert {e.labels["outcome"] for e in rig.events("refit")} >= {"promoted"}


def test_a_dry_run_writes_and_commits_nothing(X):
    rig = Rig(logs(X), dry_run=True).run()
    assert not rig.log.commits
    assert not rig.sink.records
    assert any(r.scored for r in rig.reports)


def test_every_row_leaves_a_record_where_all_are_asked_for(X):
    rig = Rig(logs(X), sinks=("all",)).run()
    assert len(rig.sink.records) == len(X)
    assert len({a["id"] for a in rig.anomalies()}) == len(X)


def test_gaps_are_committed_over(X):
    values = [Record(packed(x)) for x in X[:300]]
    rig = Rig(MemoryLog({TP: [*values, Gap(40)]})).run()
    assert rig.log.committed == {TP: 340}


EMPTY = (PAUSE, Gap(3), PAUSE)  # a block of its own that moves the offset and holds no record


def with_empty_blocks(X, places, *, poison=False, partitions=PARTITIONS):
    """Return a log like `logs(X)`, with an empty block before the records at these places of every partition."""
    log = logs(X, poison=poison, partitions=partitions)
    items = {tp: [log.record(tp, o) for o in range(log.end(tp))] for tp in partitions}
    for mine in items.values():
        for place in sorted(places, reverse=True):
            mine[place:place] = EMPTY
    return MemoryLog(items)


@pytest.mark.parametrize("codec", ["float64", "json"])
def test_a_stream_of_empty_blocks_alone_is_committed_over(codec):
    rig = Rig(MemoryLog({tp: [*EMPTY, *EMPTY] for tp in PARTITIONS}), codec=codec).run()
    assert rig.log.committed == dict.fromkeys(PARTITIONS, 6)
    assert not rig.scores
    assert not any(r.consumed or r.scored or r.unscored or r.rejected for r in rig.reports)


@pytest.mark.parametrize("sinks", [("anomalies",), ("all",), ("packed",)])
@pytest.mark.parametrize("sizes", [(1,), (50, 7), (10_000,)], ids=str)
def test_empty_blocks_first_between_and_last_are_stepped_over(X, sizes, sinks):
    """Some of them come at the rows where a step ends and a model is promoted."""
    whole = logs(X)
    ends = [whole.end(tp) for tp in PARTITIONS]
    assert ends[0] == ends[1]
    places = (0, 1, 50, 75, 76, 150, ends[0])
    rig = Rig(with_empty_blocks(X, places, poison=True), sizes, sinks=sinks)
    watch(rig)
    rig.run()
    assert len(rig.scores) == len(X)
    assert set(rig.times_scored.values()) == {1}
    assert rig.log.committed == {tp: rig.log.end(tp) for tp in PARTITIONS}
    assert rig.engine.state.detector.version.promotion > 0


def test_empty_blocks_do_not_change_what_rows_are_given(X):
    one = PARTITIONS[:1]
    calm = Rig(logs(X, partitions=one), (50,)).run()
    rig = Rig(with_empty_blocks(X, (0, 100, 150, 400), partitions=one), (50,)).run()
    assert list(rig.scores.values()) == list(calm.scores.values())


def test_a_restart_between_empty_blocks_goes_on_behind_them(X):
    """From every snapshot, also where the blocks after it were committed and are replayed in silence."""
    first = Rig(with_empty_blocks(X, (0, 100, 250, 400)), (100,)).run()
    for snapshot, committed in first.snapshots[::3]:
        for commits in (committed, first.log.committed):
            log = with_empty_blocks(X, (0, 100, 250, 400))
            log.committed.update(commits)
            again = Rig(log, (30, 1), first.restored(snapshot)).run()
            assert again.engine.state.rows_seen == first.engine.state.rows_seen
            assert log.committed == first.log.committed


@pytest.mark.parametrize("how", ["revoked", "lost"])
def test_a_partition_that_goes_and_comes_back_goes_on_where_it_was(X, how):
    log = logs(X)
    marker = Revoke((PARTITIONS[1],)) if how == "revoked" else LOST
    back = (PARTITIONS[1],) if how == "revoked" else PARTITIONS
    items = {tp: [log.record(tp, o) for o in range(log.end(tp))] for tp in PARTITIONS}
    items[PARTITIONS[0]][300:300] = [marker]
    log = MemoryLog(items)
    rig = Rig(log, (40,), commit_interval=1e9)
    watch(rig)
    while log.has_marker(PARTITIONS[0], 300):
        rig.loop.turn()
    assert {e.labels["event"] for e in rig.events("rebalance")} == {"assigned", how}
    assert set(rig.loop.ledger.covered) == set(PARTITIONS) - set(back)
    rig.source.rebalance(Rebalance("assigned", back))
    rig.run()
    rig.delivery.commit()
    assert len(rig.scores) == len(X)
    assert log.committed == {tp: log.end(tp) for tp in PARTITIONS}
    twice = [where for where, n in rig.times_scored.items() if n > 1]
    if how == "revoked":
        assert not twice, "what was flushed is committed before the partition goes"
    offsets = [commit[tp] for tp in PARTITIONS for commit in log.commits if tp in commit]
    assert all(0 < offset <= 400 for offset in offsets)


def test_packed_blocks_hold_every_row_once(X):
    lazy = {"max_latency": 1e9, "commit_interval": 1e9, "save_interval": 1e9}
    rig = Rig(logs(X, poison=True), (64, 9), sinks=("packed",), **lazy).run()
    seen = []
    for record in rig.sink.records:
        block = msgspec.msgpack.decode(record.value)
        column = {name: np.frombuffer(data, dtype) for name, (dtype, data) in block["columns"].items()}
        places = zip(column["offset"].tolist(), column["row"].tolist(), strict=True)
        seen += [(block["topic"], block["partition"], *place) for place in places]
        for place, density, status in zip(seen[-block["rows"] :], column["log_density"], column["status"], strict=True):
            assert (density.tobytes(), status) == (rig.scores[place][0], rig.scores[place][4])
    assert sorted(seen) == sorted(rig.scores)
    assert len(rig.sink.flushes) < len(rig.reports) / 4, "blocks share flushes"
