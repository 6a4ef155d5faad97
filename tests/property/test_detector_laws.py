"""What must be true of a detector's p-values and flags, whatever the units and however odd the columns."""

import numpy as np
import pytest
from scipy import stats

from streamgmm import StreamDetector
from streamgmm.engine.calibration import Calibration
from streamgmm.errors import DetectorError

N, D = 4000, 3
TARGET = 0.01


def detector(d=D, **learning):
    config = {"learning": {"min_records": 500} | learning, "detection": {"target_rate": TARGET}}
    return StreamDetector.from_config(config, fields=[f"x{i}" for i in range(d)], explain=False)


def mixed(rng, n=N, d=D):
    modes = rng.normal(size=(3, d)) * 4.0
    return modes[rng.integers(0, 3, n)] + rng.normal(size=(n, d)) @ (rng.normal(size=(d, d)) + np.eye(d))


def planted(X, rng, far=25.0):
    """Move every fiftieth row of the second half far off in one column; return which."""
    rows = np.arange(len(X) // 2, len(X), 50)
    X[rows, rng.integers(0, X.shape[1], len(rows))] += far * X.std(axis=0).max()
    return rows


def test_p_values_are_uniform_under_the_null(rng):
    """The buffer rolls under 100,000 rows, as it does under a stream."""
    scores = -rng.gamma(3.0, 2.0, 105_000)
    calibration, found = Calibration.of(5000, scores[:5000]), []
    for step in np.split(scores[5000:], 1000):
        found.append(calibration.p_values(step))
        calibration = calibration.add(step)
    p = np.concatenate(found)
    assert len(p) == 100_000
    assert stats.kstest(p, "uniform").statistic < 0.0125
    for rate in (0.05, 0.01, 0.001):
        assert (p <= rate).mean() == pytest.approx(rate, rel=0.25)


def test_p_values_follow_the_log_density(rng):
    scored = detector().process(mixed(rng))
    for start in range(1000, N, 100):
        rows = slice(start, start + 100)
        if len({tuple(v) for v in scored.version[rows]}) > 1:
            continue
        order = np.argsort(scored.log_density[rows])
        assert (np.diff(scored.p_value[rows][order]) >= 0.0).all()


@pytest.mark.parametrize("shift", [0.0, 1e3])
@pytest.mark.parametrize("scales", [(1e-3, 1e-3, 1e-3), (1e3, 1.0, 1e-3), (1e3, 1e3, 1e3)])
def test_units_change_no_p_value(rng, scales, shift):
    X = mixed(rng)
    plain = detector().process(X)
    other = detector().process((X + shift * X.std(axis=0)) * scales)
    np.testing.assert_allclose(other.p_value, plain.p_value, atol=1e-6)
    np.testing.assert_array_equal(other.is_anomaly, plain.is_anomaly)
    np.testing.assert_allclose(other.log_density + np.log(scales).sum(), plain.log_density, rtol=1e-6, atol=1e-5)


def odd(kind, rng):
    X = mixed(rng, d=4)
    rows = planted(X[:, :3], rng)
    if kind == "constant":
        X[:, 3] = 7.0
    elif kind == "duplicate":
        X[:, 3] = X[:, 0]
    elif kind == "far":
        X += 1e9
    elif kind == "tiny":
        X[:, 3] *= 1e-12
    elif kind == "missing":
        X[rng.random(X.shape) < 0.1] = np.nan
    elif kind == "never there":
        X[:, 3] = np.nan
    elif kind == "binary":
        X[:, 3] = rng.random(N) < 0.3
    return X, rows


@pytest.mark.parametrize("kind", ["constant", "duplicate", "far", "tiny", "missing", "never there", "binary"])
def test_odd_columns_give_sane_results(rng, kind):
    X, rows = odd(kind, rng)
    scored = detector(4).process(X)
    there = (scored.status == 0) & ~np.isnan(X).all(axis=1)
    assert there[600:].all()
    assert np.isfinite(scored.log_density[there]).all()
    assert ((scored.p_value[there] > 0.0) & (scored.p_value[there] <= 1.0)).all()
    normal = there.copy()
    normal[rows] = False
    assert scored.is_anomaly[normal].mean() < 2.0 * TARGET
    usual = np.quantile(scored.log_density[normal], 0.02)
    assert np.mean(scored.log_density[rows] < usual) > 0.8


def test_infinity_is_refused(rng):
    X = mixed(rng)
    X[7, 1] = np.inf
    with pytest.raises(DetectorError, match="Inf"):
        detector().process(X)
