"""`detection.log_density_below`: a threshold that somebody chose; p-values go on beside it."""

import numpy as np

from streamgmm import StreamDetector

CONFIG = {"codec": {"fields": ["a", "b"]}, "detection": {"target_rate": 0.01}}


def detector(**detection):
    return StreamDetector.from_config({**CONFIG, "detection": {"target_rate": 0.01} | detection})


def test_rows_below_it_are_flagged_and_no_others(rng):
    X = rng.normal(size=(3000, 2))
    plain, fixed = detector(), detector(log_density_below=-6.0)
    one, other = plain.process(X), fixed.process(X)
    for name in ("log_density", "p_value", "score"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    np.testing.assert_array_equal(other.is_anomaly, other.log_density < -6.0)
    assert 0 < other.is_anomaly.sum() != one.is_anomaly.sum()
    assert (other.threshold[other.status == 0] == -6.0).all()
    np.testing.assert_array_equal(fixed.predict(X) == -1, fixed.decision_function(X) < 0.0)


def test_decisions_agree_with_verdicts_where_cells_are_missing(rng):
    X = rng.normal(size=(3000, 2)) * [1.0, 1000.0]
    X[rng.random(X.shape) < 0.2] = np.nan
    d = detector(level="fixed")
    d.process(X)
    rows = np.array([[0.0, np.nan], [np.nan, 9e3], [np.nan, np.nan], [9.0, np.nan]])
    decision = d.decision_function(rows)
    scored = d.process(rows)
    np.testing.assert_allclose(decision, scored.log_density - scored.threshold, rtol=1e-12)
    assert scored.is_anomaly.tolist() == [False, True, False, True]
