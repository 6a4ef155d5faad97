import numpy as np
import pytest

from streamgmm.engine.calibration import Calibration
from streamgmm.engine.calibration_kernels import bucket_starts, exchange, rank

SEED = 20


@pytest.mark.parametrize("m", [1, 7, 50, 5000, 40_000])
@pytest.mark.parametrize("n", [1, 17, 400, 9000])
def test_ranks_are_those_of_a_search(m, n):
    rng = np.random.default_rng([SEED, m, n])
    scores = np.round(-rng.gamma(4.0, 3.0, m), 1)  # repeats
    scores[: m // 50] -= 1e5
    calibration = Calibration.of(m, scores)
    values = np.concatenate([-rng.gamma(4.0, 3.0, n), rng.choice(scores, n), rng.choice(scores, n) - 1e-9])
    values = np.append(values, [-np.inf, np.inf, np.nan, scores.min(), scores.max(), -1e9, 1e9])
    found = calibration._ranks(values)
    np.testing.assert_array_equal(found, np.searchsorted(calibration.ordered, values, side="right"))


def test_equal_scores_need_no_table():
    calibration = Calibration.of(100, np.full(100, -3.0))
    np.testing.assert_array_equal(calibration._ranks(np.repeat([-4.0, -3.0, -2.0], 300)), np.repeat([0, 100, 100], 300))


@pytest.mark.parametrize(("low", "scale"), [(np.nan, 1.0), (0.0, np.nan), (-1e300, np.inf), (0.0, -1.0), (0.0, 1e308)])
def test_no_rank_is_read_outside_of_the_buffer(low, scale):
    """Whatever was made of the numbers that places are computed by, no kernel reads or writes beyond its arrays."""
    ordered, values = np.linspace(0.0, 1.0, 50), np.array([0.3, 0.0, 5.0, -5.0, 1e308, np.nan])
    starts, out = np.zeros(65, dtype=np.int32), np.empty(len(values), dtype=np.int64)
    bucket_starts(ordered, low, scale, starts)
    rank(ordered, starts, low, scale, values, out)
    assert ((starts >= 0) & (starts <= 50)).all()
    assert ((out >= 0) & (out <= 50)).all()


def test_what_leaves_without_having_been_there_makes_no_room_beyond_the_buffer():
    memory = np.full(20, 7.0)
    exchange(np.arange(5.0), np.array([99.0, 99.5]), np.array([-1.0, 100.0]), memory[:5])
    assert (memory[5:] == 7.0).all()
