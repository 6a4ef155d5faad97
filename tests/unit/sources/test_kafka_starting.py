"""Where a partition starts, by what group, snapshot and brokers say of it."""

import pytest

from streamgmm.bus.marks import Committed, Mark, Stamps, read_mark
from streamgmm.bus.positions import Ends
from streamgmm.records import MOVES, Position, TopicPartition
from streamgmm.sources._kafka_starting import Found, begin, partitions_at_first

TP = TopicPartition("t", 0)
ENDS = Ends(10, 100)
OURS = Mark("new", 1)


def found(**known):
    nothing = {"committed": None, "covered": None, "ends": ENDS, "identity": "new", "before": "", "diverged": None}
    return Found(**nothing | {"later": False} | known)


def started(reset="latest", **known):
    start, move = begin(found(**known), lambda ends: ends.first if reset == "earliest" else ends.end, 1000)
    assert start.identity == "new"
    assert move is None or (move.reason in MOVES and move.why)
    return start[:4], move and (move.reason, move.origin, move.to, move.records)


@pytest.mark.parametrize(
    ("known", "start", "move"),
    [
        # A new group, and a partition that came after the group had begun.
        ({}, (100, 0, 100, 0), None),
        ({"reset": "earliest"}, (10, 0, 10, 0), None),
        ({"later": True}, (10, 0, 10, 0), None),
        # A restart, with and without rows to learn again.
        ({"committed": Committed(50, 0, OURS)}, (50, 0, 50, 0), None),
        ({"committed": Committed(50, 0, OURS), "covered": Position(40, 2, "new")}, (40, 2, 50, 0), None),
        ({"committed": Committed(50, 0, OURS), "covered": Position(40, 2)}, (40, 2, 50, 0), None),
        ({"committed": Committed(50, 0, OURS), "covered": Position(5, 0, "new")}, (10, 0, 50, 5), None),
        # The group has forgotten, the snapshot has not.
        ({"covered": Position(40, 2, "new")}, (40, 2, 40, 0), ("group", -1, 40, 0)),
        # Another topic of that name: by the snapshot, by the offset's mark, by both, by what this process has read.
        ({"covered": Position(40, 2, "old"), "before": "old"}, (10, 0, 10, 0), ("recreated", -1, 10, 0)),
        ({"committed": Committed(50, 0, Mark("old", 1))}, (10, 0, 10, 0), ("recreated", -1, 10, 0)),
        ({"before": "old"}, (10, 0, 10, 0), ("recreated", -1, 10, 0)),
        ({"committed": Committed(50, 0, OURS), "covered": Position(40, 2, "old")}, (50, 0, 50, 0), None),
        # Somebody else has set the offset: forwards, backwards, and to where we were.
        ({"committed": Committed(70), "covered": Position(40, 2, "new")}, (70, 0, 70, 0), ("group", 40, 70, 30)),
        ({"committed": Committed(20), "covered": Position(40, 2, "new")}, (20, 0, 20, 0), ("group", 40, 20, 0)),
        ({"committed": Committed(40), "covered": Position(40, 2, "new")}, (40, 2, 40, 0), None),
        # A membership that was lost before what was delivered could be committed.
        ({"committed": Committed(50, 0, OURS), "delivered": 80}, (80, 0, 80, 0), None),
        ({"committed": Committed(90, 0, OURS), "delivered": 80}, (90, 0, 90, 0), None),
        ({"committed": Committed(50), "delivered": 80}, (50, 0, 50, 0), None),
        ({"committed": Committed(50, 0, Mark("old", 1)), "delivered": 80}, (10, 0, 10, 0), ("recreated", -1, 10, 0)),
        # Deleted before they were read; a later start would pass over records that are there.
        ({"committed": Committed(4, 0, OURS)}, (10, 0, 10, 0), ("retention", 4, 10, 6)),
        # Lost by the brokers: from a known offset on, and from an unknown one.
        ({"committed": Committed(50, 0, OURS), "diverged": 30}, (30, 0, 30, 0), ("truncated", 50, 30, 20)),
        (
            {"committed": Committed(50, 0, OURS), "diverged": 30, "covered": Position(20, 1, "new")},
            (20, 1, 30, 0),
            ("truncated", 50, 30, 20),
        ),
        ({"committed": Committed(120, 0, OURS)}, (100, 0, 100, 0), ("truncated", 120, 100, 20)),
        (
            {"committed": Committed(120, 0, OURS), "reset": "earliest"},
            (10, 0, 10, 0),
            ("truncated", 120, 10, 20),
        ),
    ],
)
def test_where_a_partition_starts(known, start, move):
    assert started(**known) == (start, move)


def test_partitions_that_were_there_when_the_group_began():
    other = TopicPartition("u", 0)
    assert partitions_at_first("t", 6, "new", {}, known=False) == 6
    assert partitions_at_first("t", 6, "new", {}, known=True) == 0
    assert partitions_at_first("t", 6, "new", {other: Committed(1)}, known=False) == 6
    assert partitions_at_first("t", 6, "new", {TP: Committed(1, 0, Mark("new", 4))}, known=True) == 4
    assert partitions_at_first("t", 6, "new", {TP: Committed(1, 0, Mark("old", 4))}, known=False) == 0
    assert partitions_at_first("t", 6, "new", {TP: Committed(1)}, known=False) == 0


@pytest.mark.parametrize("mark", [Mark("", 0), Mark("0123abcd", 128)])
def test_a_mark_reads_back(mark):
    assert read_mark(mark.text()) == mark


@pytest.mark.parametrize("text", [None, "", "x", "streamgmm", "streamgmm - x", "streamgmm a b c", "other - 1", "§ ½ ²"])
def test_the_metadata_of_others_are_no_mark(text):
    assert read_mark(text) is None


def test_an_offset_is_stored_with_the_epoch_of_the_record_before_it():
    stamps = Stamps()
    stamps.begin(TP, OURS, 40, 3)
    assert stamps.stored_as(TP, 40) == (40, OURS.text(), 3)
    stamps.note(TP, [(40, 3), (60, 5), (70, 5)])
    stamps.note(TP, [(89, 6)])
    assert [stamps.stored_as(TP, offset).leader_epoch for offset in (40, 41, 60, 61, 89, 90, 200)] == [
        3,
        3,
        3,
        5,
        5,
        6,
        6,
    ]
    stamps.begin(TP, OURS, 50, -1)
    assert stamps.stored_as(TP, 50).leader_epoch == -1
    assert stamps.stored_as(TopicPartition("t", 9), 7) == (7, "", -1)
