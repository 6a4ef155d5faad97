"""One page when an incident opens, one when it closes, and not too many at a time."""

import math

import pytest

from streamgmm.paging import Feed, Flag, Paging
from streamgmm.records import Anomaly, Contribution, Explanation, FlaggedRow

NAN = math.nan


def flag(index, incident, t, p=1e-4, feature="a"):
    contribution = Contribution(feature, 20.0, 0.0, 9.0, 0.0, 1.0, 1.4)
    anomaly = Anomaly(
        index, "warning", incident, provisional=False, explanation=Explanation("m", 0, (), 0.0, (contribution,))
    )
    return Flag(anomaly, FlaggedRow(f"t/0/{index}/0", b"k", t, -9.0, p, 40.0, "1.0", (contribution,)))


def told(pages):
    """Return the pages that leave, in short."""
    return [
        (p.index, "closed" if p.closed else "open", p.incident.id, p.incident.rows, p.suppressed) if p.incident
        else (p.index, p.suppressed)
        for p in pages if not p.held
    ]  # fmt: skip


def test_an_incident_opens_once_and_closes_once():
    pages = Paging([Feed("pager", "incidents")])
    first = told(pages.take([flag(1, "i", 0.0), flag(3, "i", 9.0, 1e-9, "b"), flag(4, "i", 10.0)], ()))
    assert first == [(1, "open", "i", 1, 0)]
    (closing,) = pages.take((), [2])
    assert told([closing]) == [(2, "closed", "i", 3, 0)]
    assert (closing.incident.opened, closing.incident.last) == (0.0, 10.0)
    assert closing.incident.worst.id == "t/0/3/0"
    assert closing.incident.leading(5)[0][0] == "a"
    assert not list(pages.take((), [5]))


def test_one_ends_where_the_next_begins():
    pages = Paging([Feed("pager", "incidents")])
    found = told(pages.take([flag(1, "i", 0.0), flag(7, "j", 900.0)], [7]))
    assert found == [(1, "open", "i", 1, 0), (7, "closed", "i", 1, 0), (7, "open", "j", 1, 0)]


def test_anomalies_keep_their_distance_and_say_what_was_held_back():
    pages = Paging([Feed("slow", "anomalies", 60.0)])
    times = [0.0, 10.0, 59.9, 60.0, 61.0, NAN, 200.0, 100.0]
    assert told(pages.take([flag(i, "i", t) for i, t in enumerate(times)], ())) == [
        (0, 0),
        (3, 2),
        (5, 1),
        (6, 0),
        (7, 0),
    ]


def test_a_time_that_runs_back_cannot_silence_a_feed():
    pages = Paging([Feed("slow", "anomalies", 60.0)])
    assert len(told(pages.take([flag(0, "i", 4e9), flag(1, "i", 100.0), flag(2, "i", 120.0)], ()))) == 2


def test_a_small_incident_does_not_hide_a_big_one():
    pages = Paging([Feed("pager", "incidents", 900.0)])
    flags = [flag(0, "i", 0.0), flag(2, "j", 400.0), flag(3, "j", 600.0), flag(4, "j", 950.0), flag(5, "j", 990.0)]
    assert told(pages.take(flags, [1])) == [(0, "open", "i", 1, 0), (1, "closed", "i", 1, 0), (4, "open", "j", 3, 0)]
    assert told(pages.take((), [6])) == [(6, "closed", "j", 4, 0)]


def test_an_incident_that_was_held_back_does_not_close_but_is_counted():
    pages = Paging([Feed("pager", "incidents", 900.0)])
    found = told(pages.take([flag(0, "i", 0.0), flag(2, "j", 400.0), flag(4, "k", 1000.0)], [1, 3]))
    assert found == [(0, "open", "i", 1, 0), (1, "closed", "i", 1, 0), (4, "open", "k", 1, 1)]


@pytest.mark.parametrize("cut", range(8))
def test_a_restart_goes_on_where_it_was(cut):
    feeds = [Feed("pager", "incidents", 50.0), Feed("slow", "anomalies", 30.0)]
    moments = [flag(0, "i", 0.0), flag(1, "i", 20.0), 2, flag(3, "j", 45.0), flag(4, "j", NAN), flag(5, "j", 80.0), 6]

    def feed(pages, part):
        flags = [m for m in part if isinstance(m, Flag)]
        return told(pages.take(flags, [m for m in part if isinstance(m, int)]))

    whole = feed(Paging(feeds), moments)
    first, second = Paging(feeds), Paging(feeds)
    before = feed(first, moments[:cut])
    second.restore(first.state())
    assert before + feed(second, moments[cut:]) == whole


def test_a_feed_that_is_new_begins_with_nothing_and_an_old_one_is_forgotten():
    old = Paging([Feed("pager", "incidents")])
    assert told(old.take([flag(0, "i", 0.0)], ())) == [(0, "open", "i", 1, 0)]
    new = Paging([Feed("other", "incidents")])
    new.restore(old.state())
    assert told(new.take([flag(1, "i", 1.0)], ())) == [(1, "open", "i", 2, 0)]
    none = Paging()
    none.restore(old.state())
    assert none.state() == {}


def test_what_is_held_is_told_once():
    pages = Paging([Feed("slow", "anomalies", 60.0)])
    for page in pages.take([flag(0, "i", 0.0), flag(1, "i", 1.0)], ()):
        if page.held:
            pages.note_held(page.feed)
    assert pages.held_back() == {"slow": 1}
    assert pages.held_back() == {}
