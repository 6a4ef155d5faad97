"""The same rows give the same bits: whatever the block sizes, with poison between them, and after any restart."""

import pytest
from rigs import PARTITIONS, Rig, logs, rows


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
    records = [r.value for r in whole.sink.records]
    for snapshot, committed in restart_points(whole):
        log = logs(X, poison=True, times=times)
        log.committed.update(committed)
        again = Rig(log, (61, 5), whole.restored(snapshot)).run()
        assert again.scores == {where: whole.scores[where] for where in again.scores}
        assert len(again.scores) < len(whole.scores) or not committed
        assert again.engine.state.rows_seen == whole.engine.state.rows_seen, "learnt twice, or not at all"
        delivered = [r.value for r in again.sink.records]
        assert delivered == records[len(records) - len(delivered) :], "incidents and explanations go on as well"


def restart_points(rig):
    """Return the snapshots of all promotions, and some of those between."""
    versions = [snapshot.manifest["model_version"] for snapshot, _ in rig.snapshots]
    promoted = {i for i, v in enumerate(versions) if v is not None and (i == 0 or v != versions[i - 1])}
    return [rig.snapshots[i] for i in sorted(promoted | set(range(0, len(versions), 7)))]


def test_an_older_snapshot_replays_up_to_the_committed_offsets_in_silence(X):
    whole = Rig(logs(X), (100,)).run()
    snapshot, _ = whole.snapshots[len(whole.snapshots) // 3]
    log = logs(X)
    log.committed.update(whole.log.committed)
    again = Rig(log, (100,), whole.restored(snapshot)).run()
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
