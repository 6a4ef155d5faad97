import math

import pytest

from streamgmm.demo.judge import Flag, Ledger, flag, hit_at_random, judge


def at(row, incident="i", *features):
    return Flag(row, incident, features)


def test_the_first_flag_inside_an_event_finds_it(small):
    verdict = judge(small, [at(14, "y", "b"), at(13, "x", "a"), at(15)])
    missed, found = verdict.outcomes
    assert (missed.first, missed.delay, missed.cause_named) == (None, None, False)
    assert (found.delay, found.first.incident, found.cause_named) == (1, "x", False)
    assert verdict.found == 1


@pytest.mark.parametrize(("row", "found"), [(5, 0), (6, 1), (7, 1), (8, 0)])
def test_events_end_before_their_end(small, row, found):
    assert judge(small, [at(row)]).found == found


def test_a_cause_counts_as_named_among_the_top_features(small):
    first, _ = judge(small, [at(6, "x", "b", "a")]).outcomes
    assert first.cause_named


def test_rates_are_shares_of_judged_rows(small):
    verdict = judge(small, [at(5, "p"), at(7, "q"), at(9, "r"), at(13, "s")])
    assert verdict.flagged == 4
    assert verdict.flagged_in_events == 2
    assert verdict.precision == 0.5
    assert verdict.flag_rate == 4 / 16
    assert verdict.normal_flag_rate == 2 / 10


def test_the_warm_up_is_not_judged(small):
    verdict = judge(small, [at(0), at(3)])
    assert verdict.flagged == 0
    assert verdict.false_alarms == 0
    assert math.isnan(verdict.precision)


def test_a_row_delivered_twice_counts_once(small):
    assert judge(small, [at(9), at(9), at(9)]).flagged == 1


def test_an_incident_that_touches_an_event_is_no_false_alarm(small):
    verdict = judge(small, [at(5, "early"), at(6, "early"), at(9, "wrong"), at(10, "wrong"), at(18, "late")])
    assert verdict.false_alarms == 2
    assert verdict.false_alarms_per_day == pytest.approx(2 / (16 / 1440))


def test_chance_is_exact(small):
    verdict = judge(small, [at(5), at(9), at(13), at(18)])
    r = 4 / 16
    assert verdict.expected_at_random == pytest.approx((1 - (1 - r) ** 2) + (1 - (1 - r) ** 4))


def test_chance_agrees_with_a_simulation(rng):
    hits = (rng.random((200_000, 7)) < 0.05).any(axis=1).mean()
    assert hit_at_random(0.05, 7) == pytest.approx(hits, abs=0.005)


def test_a_record_gives_row_incident_and_three_features():
    record = {"offset": 42, "incident": "abc", "contributions": [{"feature": name} for name in "pqrst"]}
    assert flag(record) == Flag(42, "abc", ("p", "q", "r"))


def test_rows_without_a_fate_are_lost():
    assert Ledger(rows=10, committed=10, scored=6, unscored=2, rejected=1).lost == 1
    assert Ledger(rows=10, committed=10, scored=6, unscored=3, rejected=1).lost == 0
