"""A field that no record has is told once."""

import pytest

from streamgmm.records import Report
from streamgmm.telemetry.absent import ENOUGH, Absent


def test_a_field_without_a_value_in_any_row_is_told_once(caplog):
    absent = Absent()
    for _ in range(3):
        absent.observe(
            Report(scored=ENOUGH - 50, unscored={"warming_up": 49, "tombstone": 7}, missing={"b": ENOUGH - 1})
        )
        absent.observe(Report(unscored={"tombstone": 5}))
        absent.observe(Report(scored=1, missing={"a": 1, "b": 1}))
    assert absent.names == ("b",)
    assert [r.getMessage() for r in caplog.records] == [
        f"{ENOUGH} rows, and none has a value for b: look at codec.fields"
    ]
    absent.observe(Report(scored=10, missing={"b": 9}))
    assert absent.names == ()


@pytest.mark.parametrize("missing", [{}, {"a": ENOUGH - 1}])
def test_a_field_that_is_there_now_and_then_is_not_told(missing, caplog):
    absent = Absent()
    absent.observe(Report(scored=ENOUGH, missing=missing))
    assert (absent.names, caplog.records) == ((), [])


def test_metrics_that_are_all_of_other_measurements_are_told(caplog):
    absent = Absent()
    for _ in range(3):
        absent.observe(Report(passed={"other_measurement": ENOUGH, "heartbeat": 1}))
    assert [r.getMessage() for r in caplog.records] == [
        f"{ENOUGH} metrics, and none has a declared field: look at codec.fields"
    ]
