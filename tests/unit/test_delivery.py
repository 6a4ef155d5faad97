"""Write, flush, commit: in this order, and nothing else commits."""

import itertools

import pytest

from streamgmm.delivery import FLUSH_SLICE, REFUSED_SECONDS, Delivery, Outlet
from streamgmm.errors import StopError, UndeliveredError
from streamgmm.records import Contact, OutputRecord, TopicPartition
from streamgmm.sinks.memory import MemorySink

TP = TopicPartition("t", 0)
RECORD = OutputRecord(b"a")


class Group:
    """A source's group side: remembers what happened, in order."""

    def __init__(self, sinks=(), accepts=True):
        self.seen, self.sinks, self.accepts, self.polls = [], sinks, accepts, 0

    def flushed(self, offsets):
        assert not any(s.pending for s in self.sinks), "noted before it was flushed"
        self.seen.append(("flushed", dict(offsets)))

    def commit(self, offsets, *_, **__):
        assert not any(s.pending for s in self.sinks), "committed before it was flushed"
        self.seen.append(("commit", dict(offsets)))
        return self.accepts

    def contact(self):
        return Contact()

    def pause(self):
        self.seen.append("pause")

    def resume(self):
        self.seen.append("resume")

    def poll(self, _timeout):
        self.polls += 1
        if self.polls == 3:
            for sink in self.sinks:
                sink.release()

    def commits(self):
        return [what[1] for what in self.seen if what[0] == "commit"]


def delivery(group, sinks, interval=0.0, **options):
    clock = itertools.count()
    outlets = [Outlet(s, "anomalies") for s in sinks]
    return Delivery(
        group, outlets, commit_interval=interval, now=lambda: float(next(clock)), sleep=lambda _: None, **options
    )


def test_a_commit_follows_the_flush_of_every_sink():
    sinks = [MemorySink("one"), MemorySink("two")]
    group = Group(sinks)
    assert delivery(group, sinks).complete({"anomalies": [RECORD]}, {TP: 5}) == {"one": 1, "two": 1}
    assert [s.records for s in sinks] == [[RECORD], [RECORD]]
    assert group.commits() == [{TP: 5}]


def test_a_stuck_sink_pauses_the_source_and_keeps_it_polled():
    sink = MemorySink("slow")
    sink.hold()
    group = Group([sink])
    d = delivery(group, [sink], stuck_after=2.0)
    d.complete({"anomalies": [RECORD]}, {TP: 5})
    assert [w for w in group.seen if isinstance(w, str)] == ["pause", "resume"]
    assert group.polls == 3
    assert group.commits() == [{TP: 5}]
    assert [e.kind for e in d.events()] == ["sink_error", "sink_recovered", "commit"]


def test_a_failure_is_told_once_with_its_place_and_its_cause_and_so_is_its_end():
    """However often it is tried: a counter of tries would tell one long failure from many short ones no more."""
    sink = MemorySink("slow")
    sink.hold()
    sink.place, sink.problem = "topic pages", "disk full"
    group, told = Group(), []
    d = delivery(group, [sink], stuck_after=50.0)

    def wait():
        told.extend(d.events())
        if group.polls == 500:
            sink.release()

    d.on_wait = wait
    d.complete({"anomalies": [RECORD]}, {TP: 5})
    failed, recovered = *told, *(e for e in d.events() if e.kind != "commit")
    assert (failed.kind, failed.labels) == ("sink_error", {"sink": "slow", "reason": "refused"})
    assert failed.fields == {"to": "topic pages", "problem": "disk full"}
    assert (recovered.kind, recovered.labels) == ("sink_recovered", {"sink": "slow"})
    assert recovered.fields["seconds"] > 50.0


def test_a_sink_that_is_only_slow_is_no_failure():
    sink = MemorySink("slow")
    sink.fail_flushes(3)
    d = delivery(Group(), [sink], stuck_after=1e9)
    d.complete({"anomalies": [RECORD]}, {TP: 5})
    assert {e.kind for e in d.events()} == {"commit"}


def test_a_sink_that_refuses_at_once_is_not_asked_without_end():
    """The time that a flush did not take is slept: without it, a full disk is a busy loop."""
    sink, slept, clock = MemorySink("full"), [], [0.0]
    sink.fail_flushes(7)

    def sleep(seconds):
        slept.append(seconds)
        clock[0] += seconds

    d = Delivery(Group(), [Outlet(sink, "anomalies")], commit_interval=1e9, now=lambda: clock[0], sleep=sleep)
    d.complete({"anomalies": [RECORD]}, {TP: 5})
    assert slept == [FLUSH_SLICE] * 7


def test_what_no_sink_has_taken_is_behind():
    sink = MemorySink("one")
    d = delivery(Group([sink]), [sink], interval=1e9, max_latency=1e9)
    d.assigned({TP: 3})
    d.complete({"anomalies": [RECORD]}, {TP: 10, TopicPartition("t", 1): 4})
    assert d.behind() == {TP: 7}
    d.flush()
    assert d.behind() == {}


def test_giving_up_commits_nothing():
    sink = MemorySink("slow")
    sink.hold()
    group = Group([sink])
    group.polls = 10
    with pytest.raises(UndeliveredError, match="slow"):
        delivery(group, [sink], interrupted=lambda: True).complete({"anomalies": [RECORD]}, {TP: 5})
    assert not group.commits()


def test_a_refused_commit_is_tried_again():
    group = Group(accepts=False)
    d = delivery(group, [MemorySink()])
    d.complete({}, {TP: 5})
    group.accepts = True
    d.commit()
    assert group.commits() == [{TP: 5}, {TP: 5}]
    d.commit()
    assert len(group.commits()) == 2, "what is committed is not committed again"


def test_commits_that_are_refused_for_long_are_told_once_and_so_is_their_end(caplog):
    caplog.set_level("INFO")
    group, clock = Group(accepts=False), [0.0]
    d = Delivery(group, [Outlet(MemorySink(), "anomalies")], commit_interval=0.0, now=lambda: clock[0])
    for n in range(10 * int(REFUSED_SECONDS)):
        clock[0] += 1.0
        d.complete({}, {TP: n + 1})
    group.accepts = True
    d.commit()
    first, second = (record.getMessage() for record in caplog.records)
    assert "no offsets could be committed for 60 s" in first
    assert second == "offsets are committed again"


def test_offsets_never_go_back():
    group = Group()
    d = delivery(group, [MemorySink()])
    d.assigned({TP: 10})
    d.complete({}, {TP: 7})
    assert not group.commits()
    d.complete({}, {TP: 12})
    assert group.commits() == [{TP: 12}]


def test_a_dry_run_commits_nothing():
    group = Group()
    d = delivery(group, [])
    d.complete({"anomalies": [RECORD]}, {TP: 5})
    d.commit()
    assert not group.seen


def test_partitions_that_are_gone_are_not_committed():
    group = Group()
    d = delivery(group, [MemorySink()], interval=1e9)
    d.complete({}, {TP: 5})
    d.released([TP])
    d.commit()
    assert not group.commits()


def test_blocks_share_a_flush_until_it_is_due_or_the_stream_is_quiet():
    sink = MemorySink("one")
    group = Group([sink])
    clock = [0.0]
    d = Delivery(group, [Outlet(sink, "anomalies")], commit_interval=100.0, max_latency=1.0, now=lambda: clock[0])
    for n in range(3):
        d.complete({"anomalies": [RECORD]}, {TP: n + 1})
        clock[0] += 0.25
    d.complete({}, {TP: 10})
    assert (sink.records, d.waits, group.seen) == ([], True, [])
    clock[0] = 1.0
    d.tick()
    assert (len(sink.records), d.waits, group.seen) == (3, False, [("flushed", {TP: 10})])
    d.complete({"anomalies": [RECORD]}, {TP: 11})
    d.tick()
    assert d.waits
    d.tick(quiet=True)
    assert group.seen[-1] == ("flushed", {TP: 11})
    d.complete({}, {TP: 12})
    assert group.seen[-1] == ("flushed", {TP: 12}), "nothing waits, so nothing has to"


def test_a_commit_flushes_first_and_gone_partitions_are_left_out():
    sink = MemorySink("one")
    group = Group([sink])
    d = delivery(group, [sink], interval=1e9, max_latency=1e9)
    other = TopicPartition("t", 1)
    d.complete({"anomalies": [RECORD]}, {TP: 3, other: 8})
    d.released([other])
    assert d.commit()
    assert group.commits() == [{TP: 3}]
    assert sink.records == [RECORD]


@pytest.mark.parametrize("stuck", ["held", "hopeless", "no"])
def test_closing_commits_only_what_could_be_flushed(stuck):
    sink = MemorySink("one")
    group = Group()
    d = delivery(group, [sink], interval=1e9, max_latency=1e9)
    d.complete({"anomalies": [RECORD]}, {TP: 3})
    if stuck == "held":
        sink.hold()
    elif stuck == "hopeless":
        sink.stop_with(StopError("no right to write"))
    d.close(1.0)
    assert group.commits() == ([{TP: 3}] if stuck == "no" else [])
    assert group.polls == 0, "nothing is waited for beyond the time"
