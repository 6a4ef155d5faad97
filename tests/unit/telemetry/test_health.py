from __future__ import annotations

import dataclasses

import pytest

from streamgmm.supervisor import Stuck
from streamgmm.telemetry.health import Vitals, judge

WELL = Vitals(stuck=(), warm=True, joined=True, stopping=False)


def test_all_well():
    health = judge(WELL)
    assert (health.live, health.ready, health.reasons) == (True, True, ())


@pytest.mark.parametrize("change", [{"warm": False}, {"joined": False}, {"stopping": True}])
def test_not_ready_is_still_live(change):
    health = judge(dataclasses.replace(WELL, **change))
    assert health.live
    assert not health.ready
    assert len(health.reasons) == 1


def test_a_stuck_part_is_neither_live_nor_ready_and_is_named():
    health = judge(dataclasses.replace(WELL, stuck=(Stuck("deliver", 301.0, "at work too long"),)))
    assert (health.live, health.ready) == (False, False)
    assert health.reasons == ("deliver: at work too long (301 s)",)
