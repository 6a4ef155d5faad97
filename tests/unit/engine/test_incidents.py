"""Flagged rows that belong together are one incident."""

import numpy as np

from streamgmm.engine.incidents import Incident, first_beyond, follow

NAN = float("nan")


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
    a, b, c = ids([(NAN, 0), (NAN, 100), (NAN, 201)])
    assert a == b
    assert b != c


def test_the_first_row_beyond_the_gap_shows_the_end():
    last = Incident("i", 1000.0, 7)
    assert first_beyond(last, np.array([900.0, 1300.0, 1300.5, 1200.0]), 8, 300.0, 100) == 2
    assert first_beyond(last, np.array([500.0, 1300.0]), 8, 300.0, 100) is None
    assert first_beyond(last, np.empty(0), 8, 300.0, 100) is None


def test_rows_without_a_time_are_counted():
    timed, untimed = Incident("i", 1000.0, 7), Incident("i", NAN, 7)
    t = np.array([1000.0] * 100 + [NAN] * 3)
    assert first_beyond(timed, t, 8, 300.0, 100) == 100
    assert first_beyond(untimed, t, 8, 300.0, 100) == 100
    assert first_beyond(untimed, t, 8, 300.0, 1000) is None


def test_a_wrong_time_does_not_leave_an_incident_open():
    last = Incident("i", 4.07e9, 7)
    assert first_beyond(last, 1.7e9 + 60.0 * np.arange(3.0), 8, 300.0, 100) == 0
    late = Incident("i", 1.7e9, 7)
    assert first_beyond(late, 1.7e9 - 3600.0 + np.arange(3.0), 8, 300.0, 100) is None
