"""Where partitions stand: parts of batches, records cut in the middle, what was done before a restart."""

import numpy as np
from batches import record_batch

from streamgmm.ledger import Ledger, Part
from streamgmm.records import FeatureBatch, Position, Reject, TopicPartition
from streamgmm.sources import Start, start_at

A, B = TopicPartition("t", 0), TopicPartition("t", 1)


def fields(record, row, rejects=()):
    n = len(record)
    return FeatureBatch(np.zeros((n, 1)), np.array(record), np.array(row), np.full(n, np.nan), tuple(rejects))


def ledger(**starts):
    given = {A: starts.get("a", Start(0, 0, 0, 0)), B: starts.get("b", Start(0, 0, 0, 0))}
    made = Ledger()
    made.assigned(given, given)
    return made


def batch():
    """Return five records: offsets 10 and 11 of A, 7 of B, 12 of A, 8 of B."""
    from dataclasses import replace

    made = record_batch([b"x"] * 5)
    return replace(
        made,
        partitions=(A, B),
        partition=np.array([0, 0, 1, 0, 1]),
        offset=np.array([10, 11, 7, 12, 8]),
        next_offsets={A: 15, B: 9},
    )


def part(rows, records, n=5):
    return Part(slice(*rows), slice(*records), np.zeros(n, dtype=bool))


def test_the_last_part_covers_the_batch_and_its_gaps():
    led, f = ledger(), fields([0, 1, 2, 3, 4], [0] * 5)
    assert led.advance(batch(), f, part((0, 5), (0, 5))) == {A: 15, B: 9}
    assert led.covered == {A: Position(15), B: Position(9)}


def test_a_part_covers_the_records_before_its_end():
    led, f = ledger(), fields([0, 1, 2, 3, 4], [0] * 5)
    assert led.advance(batch(), f, part((0, 2), (0, 2))) == {A: 12}
    assert led.covered == {A: Position(12), B: Position(7)}


def test_a_record_cut_in_the_middle_is_covered_in_part_and_not_committed():
    led, f = ledger(), fields([0, 0, 0, 1, 2], [0, 1, 2, 0, 0])
    assert led.advance(batch(), f, part((0, 2), (0, 0))) == {}
    assert led.covered[A] == Position(10, 2)


def test_rows_of_a_record_that_were_done_are_dropped_after_a_restart():
    led = ledger(a=Start(10, 2, 10, 0))
    f = led.without_rows_done(batch(), fields([0, 0, 0, 1, 2], [0, 1, 2, 0, 0]))
    assert f.row.tolist() == [2, 0, 0]
    assert f.record.tolist() == [0, 1, 2]


def test_records_delivered_before_the_restart_are_muted():
    assert ledger(a=Start(10, 0, 12, 0)).muted(batch()).tolist() == [True, True, False, False, False]


def test_rejects_belong_to_the_part_that_completes_their_record():
    f = fields([0, 1, 2, 3, 4], [0] * 5, [Reject(1, -1, "decode", ""), Reject(3, 0, "schema", "")])
    assert [r.record for r in part((0, 2), (0, 2)).rejects(f)] == [1]
    assert [r.record for r in part((2, 5), (2, 5)).rejects(f)] == [3]


def test_a_released_partition_is_forgotten():
    led = ledger()
    led.released([A])
    assert set(led.covered) == {B}


def test_where_a_partition_starts():
    assert start_at(None, 50, 100) == Start(50, 0, 50, 0)
    assert start_at(Position(30, 4), 50, 100) == Start(30, 4, 50, 0)
    assert start_at(Position(50, 4), 50, 100) == Start(50, 4, 50, 0)
    assert start_at(Position(60), 50, 100) == Start(50, 0, 50, 0)
    assert start_at(Position(30), 50, 10) == Start(50, 0, 50, 20)


def test_every_row_has_an_identity_of_its_own():
    led, f = ledger(), fields([0, 0, 1, 2, 3, 4], [0, 1, 0, 0, 0, 0])
    assert len(set(led.hashes(batch(), f).tolist())) == 6


def test_a_record_can_be_cut_again_and_again():
    led, f, covered = ledger(), fields([0, 0, 0, 0, 1, 2], [0, 1, 2, 3, 0, 0]), []
    for rows, records in [((0, 1), (0, 0)), ((1, 3), (0, 0)), ((3, 5), (0, 2)), ((5, 6), (2, 5))]:
        led.advance(batch(), f, part(rows, records))
        covered.append((led.covered[A], led.covered[B]))
    nothing = Position(0)
    assert covered == [
        (Position(10, 1), nothing),
        (Position(10, 3), nothing),
        (Position(12), Position(7)),
        (Position(15), Position(9)),
    ]


def test_a_record_that_was_cut_before_the_restart_can_be_cut_again():
    led = ledger(a=Start(10, 2, 10, 0))
    f = led.without_rows_done(batch(), fields([0, 0, 0, 0, 1], [0, 1, 2, 3, 0]))
    assert led.advance(batch(), f, part((0, 1), (0, 0))) == {}
    assert led.covered[A] == Position(10, 3)
    assert led.muted(batch()).tolist() == [False] * 5
