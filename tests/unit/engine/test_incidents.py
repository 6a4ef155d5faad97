"""Flagged rows that belong together are one incident."""

from streamgmm.engine.incidents import follow


def ids(flags, seconds=300.0, rows=100):
    incident, seen = None, []
    for t, row in flags:
        incident = follow(incident, t, row, row_hash=row + 1, seconds=seconds, rows=rows)
        seen.append(incident.id)
    return seen


def test_event_time_decides_where_there_is_any():
    a, b, c = ids([(0.0, 0), (299.0, 10_000), (600.0, 10_001)])
    assert a == b
    assert b != c


def test_each_flag_moves_the_end_on():
    assert len(set(ids([(250.0 * i, i) for i in range(20)]))) == 1


def test_rows_decide_where_there_is_no_time():
    nan = float("nan")
    a, b, c = ids([(nan, 0), (nan, 100), (nan, 201)])
    assert a == b
    assert b != c
