"""Hostile payloads before an unreadable page, in a process that may die of them (tests/fuzz_payloads.py).

STREAMGMM_FUZZ=10000000 makes the long run of it: about twenty minutes.
"""

import pytest
from fuzzing import CASES, run, seconds

PER_CASE = 0.004  # seconds


@pytest.mark.timeout(seconds(PER_CASE))
@pytest.mark.parametrize("seed", [1, 2])
def test_no_payload_makes_it_read_too_far_hang_or_say_something_else(seed):
    code, printed, complained = run("fuzz_payloads", seed, PER_CASE)
    assert code == 0, (printed[-3000:] + complained)[-5000:]
    assert int(printed.split("cases, ")[1].split()[0]) > CASES // 40, "hardly anything was read"
