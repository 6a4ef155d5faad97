"""Whether the order of rows says anything decides what a temporal member is worth."""

import numpy as np
import pytest

from streamgmm.detector.sight import Sight
from streamgmm.features import Pipeline
from streamgmm.records import ByteColumn
from streamgmm.refit.job import MemberSettings
from streamgmm.refit.order import MOST_CHANGE, change, sight_of

N = 3000


def settings(k):
    return MemberSettings("temporal", kind="marginals", stems=2 * tuple(range(k)), weight=2.0)


def with_past(X):
    """Return rows with level and activity of all columns behind them."""
    names = [f"x{j}" for j in range(X.shape[1])]
    return Pipeline.identity(names).with_history(range(X.shape[1]), 40.0).apply(X)


def test_rows_in_no_order_change_as_much_as_random_pairs_differ(rng):
    X = rng.normal(size=(N, 3)) * [1.0, 100.0, 1e-3] + 7.0
    rows = with_past(X)
    np.testing.assert_allclose(change(X, rows[:, 6:]), 1.0, atol=0.1)
    assert sight_of(settings(3), rows).weight == 0.0


@pytest.mark.parametrize("correlation", [0.8, 0.95, 0.99])
def test_an_autoregression_changes_by_the_root_of_what_it_forgets(rng, correlation):
    X = np.zeros((N, 1))
    noise = rng.normal(size=N)
    for i in range(1, N):
        X[i] = correlation * X[i - 1] + noise[i]
    rows = with_past(X)
    expected = np.sqrt(1.0 - correlation)
    assert change(X, rows[:, 2:])[0] == pytest.approx(expected, rel=0.3)
    assert sight_of(settings(1), rows) == Sight((1, 2), (0, 0), 2.0)
    assert expected < MOST_CHANGE


def test_a_thinned_sample_of_ordered_rows_is_still_known_as_ordered(rng):
    X = np.cumsum(rng.normal(size=(50 * N, 1)), axis=0)
    X = np.sin(X / 50.0)
    rows = with_past(X)[rng.permutation(len(X))[:N]]
    assert sight_of(settings(1), rows).weight == 2.0


def test_switches_and_constants_are_left_out(rng):
    wave = np.sin(np.arange(N) / 9.0)
    switch = (np.arange(N) // 100 % 2).astype(float)
    rows = with_past(np.column_stack([switch, wave, np.full(N, 3.0), wave + 0.1 * rng.normal(size=N)]))
    sight = sight_of(settings(4), rows)
    assert sight.columns == (5, 7, 9, 11)
    assert sight.stems == (1, 3, 1, 3)
    assert sight_of(settings(1), with_past(switch[:, None])).weight == 0.0


def test_columns_without_values_have_no_say():
    wave = np.sin(np.arange(N) / 9.0)
    rows = with_past(np.column_stack([np.full(N, np.nan), wave]))
    assert sight_of(settings(2), rows).stems == (1, 1)
    assert sight_of(settings(1), with_past(np.full((N, 1), np.nan))).weight == 0.0


@pytest.mark.parametrize("rows_of_a_key", [1, 3, 10])
def test_keys_that_come_and_go_do_not_look_calm(rng, rows_of_a_key):
    X = rng.normal(size=(N, 2))
    keys = ByteColumn.from_values([b"%d" % (i // rows_of_a_key) for i in range(N)])
    rows = Pipeline.identity(["a", "b"]).with_history((0, 1), 40.0).apply(X, keys=keys)
    assert sight_of(settings(2), rows).weight == 0.0
