import numpy as np
import pytest

from streamgmm.engine.calibration import Calibration

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
