import numpy as np

from streamgmm.detector.view import View


def test_a_column_that_falls_silent_keeps_its_scale(rng):
    X = rng.normal(size=(500, 3)) * [1.0, 50.0, 1.0] + [0.0, 300.0, 0.0]
    X[:, 2] = rng.integers(0, 2, 500)
    before = View.fit(X, 30.0, ())
    X[:, 1:] = np.nan
    after = View.fit(X, 30.0, (), before)
    np.testing.assert_array_equal(after.scale[1:], before.scale[1:])
    np.testing.assert_array_equal(after.location[1:], before.location[1:])
    np.testing.assert_array_equal(after.remembered[1:], before.remembered[1:])
    assert [t.column for t in after.counted] == [t.column for t in before.counted] == [2]
