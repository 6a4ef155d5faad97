"""The ledger of a group member, with a consumer that does as it is told."""

import asyncio
from types import SimpleNamespace

import pytest
from kafka import errors
from kafka.structs import MemberState

from streamgmm.bus.membership import Membership
from streamgmm.records import Rebalance, TopicPartition

A, B, C = (TopicPartition("t", p) for p in range(3))


class Consumer:
    def __init__(self):
        self.committed = []
        self.paused = set()
        self.positions = {}
        self.failure = None
        self.state = MemberState.REBALANCING
        self._manager = SimpleNamespace(wait_for=self._wait_for)

    def pause(self, *partitions):
        self.paused.update(partitions)

    def group_metadata(self):
        return SimpleNamespace(state=self.state)

    def seek(self, partition, offset):
        self.positions[tuple(partition)] = offset

    def commit(self, offsets, timeout_ms):
        assert timeout_ms > 0
        self._store(offsets)

    def commit_async(self, offsets):
        return offsets

    async def _wait_for(self, offsets, timeout_ms):
        assert timeout_ms > 0
        self._store(offsets)

    def _store(self, offsets):
        if self.failure is not None:
            raise self.failure
        self.committed.append({tuple(tp): stored.offset for tp, stored in offsets.items()})


@pytest.fixture
def consumer():
    return Consumer()


@pytest.fixture
def members(consumer):
    return Membership(consumer)


def assign(members, *partitions, floors=None):
    asyncio.run(members.on_partitions_assigned(partitions))
    members.settle(floors or dict.fromkeys(partitions, 0))


def revoke(members, *partitions):
    asyncio.run(members.on_partitions_revoked(partitions))


def test_a_new_partition_waits_and_is_reported_when_it_has_started(members, consumer):
    asyncio.run(members.on_partitions_assigned([A, B]))
    assert members.pending() == [A, B]
    assert members.owned() == []
    assert members.happened() == []
    assert consumer.paused == {A, B}
    members.settle({A: 5, B: 0})
    assert members.pending() == []
    assert members.owned() == [A, B]
    assert members.happened() == [Rebalance("assigned", (A, B))]
    assert members.happened() == []


def test_a_revoked_partition_is_committed_as_far_as_it_was_flushed(members, consumer):
    assign(members, A, B)
    members.flushed({A: 10, B: 20})
    members.happened()
    revoke(members, B)
    assert consumer.committed == [{B: 20}]
    assert members.happened() == [Rebalance("revoked", (B,))]
    revoke(members, A)
    assert consumer.committed == [{B: 20}, {A: 10}]


def test_what_was_committed_already_is_not_sent_again(members, consumer):
    assign(members, A)
    assert members.commit({A: 10}, 1.0)
    assert members.commit({A: 10}, 1.0)
    revoke(members, A)
    assert consumer.committed == [{A: 10}]


def test_nothing_goes_back(members, consumer):
    assign(members, A, floors={A: 50})
    assert members.commit({A: 40}, 1.0)
    assert members.commit({A: 60}, 1.0)
    members.flushed({A: 55})
    assert members.commit({A: 55}, 1.0)
    assert consumer.committed == [{A: 60}]


def test_a_lost_partition_is_not_committed(members, consumer):
    assign(members, A)
    members.flushed({A: 10})
    members.happened()
    asyncio.run(members.on_partitions_lost([A]))
    assert consumer.committed == []
    assert members.happened() == [Rebalance("lost", (A,))]
    assert not members.commit({A: 11}, 1.0)


def test_what_is_not_ours_is_refused_as_a_whole(members, consumer):
    assign(members, A)
    assert not members.commit({A: 1, C: 1}, 1.0)
    assert consumer.committed == []
    members.flushed({C: 9})
    assign(members, C)
    revoke(members, C)
    assert consumer.committed == []


@pytest.mark.parametrize(
    "refusal",
    [errors.CommitFailedError(), errors.RebalanceInProgressError(), errors.UnknownMemberIdError(),
     errors.IllegalGenerationError(), errors.KafkaTimeoutError(), errors.NotCoordinatorError()],
    ids=lambda e: type(e).__name__,
)  # fmt: skip
def test_a_refused_commit_is_false_and_is_tried_again_on_revoke(refusal, members, consumer):
    assign(members, A)
    consumer.failure = refusal
    assert not members.commit({A: 10}, 1.0)
    consumer.failure = None
    revoke(members, A)
    assert consumer.committed == [{A: 10}]


def test_a_commit_that_fails_in_the_listener_breaks_nothing(members, consumer):
    assign(members, A)
    members.flushed({A: 10})
    members.happened()
    consumer.failure = errors.KafkaTimeoutError()
    revoke(members, A)
    assert members.happened() == [Rebalance("revoked", (A,))]


def test_a_right_that_is_missing_is_no_refusal(members, consumer):
    assign(members, A)
    consumer.failure = errors.GroupAuthorizationFailedError("g")
    with pytest.raises(errors.GroupAuthorizationFailedError):
        members.commit({A: 10}, 1.0)


def test_what_nobody_heard_of_is_not_taken_back(members):
    assign(members, A, B)
    revoke(members, B)
    assert members.happened() == [Rebalance("assigned", (A,))]
    asyncio.run(members.on_partitions_assigned([C]))
    revoke(members, C)
    assert members.pending() == []
    assert members.happened() == []


def test_a_partition_that_comes_back_starts_afresh(members, consumer):
    assign(members, A)
    members.flushed({A: 10})
    revoke(members, A)
    assign(members, A, floors={A: 30})
    revoke(members, A)
    assert consumer.committed == [{A: 10}]


def test_what_was_delivered_before_a_partition_was_lost_is_remembered(members):
    assign(members, A, B)
    assert members.delivered(A) == -1
    members.flushed({A: 10})
    asyncio.run(members.on_partitions_lost([A, B]))
    assert (members.delivered(A), members.delivered(B)) == (10, -1)


def test_a_partition_whose_log_is_another_one_starts_anew(members, consumer):
    assign(members, A, B)
    members.flushed({A: 10})
    members.happened()
    consumer.paused.clear()
    members.restart([A, C])
    assert consumer.paused == {A}
    assert members.happened() == [Rebalance("lost", (A,))]
    assert members.pending() == [A]
    assert members.owned() == [B]
    assert members.delivered(A) == -1
    assert consumer.committed == []


def test_a_first_share_of_no_partition_is_told_once():
    consumer = Consumer()
    members = Membership(consumer)
    assert members.happened() == []
    consumer.state = MemberState.STABLE
    assert members.happened() == [Rebalance("assigned", ())]
    assert members.happened() == []
