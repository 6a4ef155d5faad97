"""A temporal member in the whole engine: the same bits however rows come, and events that no single row shows."""

from dataclasses import replace

import numpy as np
import pytest
from rigs import COLUMNS, NAMES, PARTITIONS, SETTINGS, Rig, logs

from streamgmm import StreamDetector
from streamgmm.refit.job import MemberSettings

HISTORY = (0, 1, 2)
STEMS = 2 * HISTORY
WITH_PAST = replace(
    SETTINGS,
    members=(
        replace(SETTINGS.members[0], n_columns=len(COLUMNS)),
        MemberSettings(
            "temporal",
            "marginals",
            n_components=2,
            window=300,
            refresh_every=50,
            refit_every=400,
            stems=STEMS,
            weight=2.0,
        ),
    ),
    stems=STEMS,
)


def waves(rng, n):
    """Three slow waves; now and then something far away."""
    X = np.sin(np.arange(n)[:, None] / [15.0, 40.0, 25.0]) + 0.05 * rng.normal(size=(n, 3))
    X[rng.random(n) < 0.004] += 5.0
    return X


@pytest.fixture(name="X")
def stream(rng):
    return waves(rng, 2400)


def rig(log, sizes, restored=None):
    return Rig(log, sizes, restored, settings=WITH_PAST, history=HISTORY)


@pytest.mark.parametrize("times", [False, True], ids=["untimed", "thinned"])
def test_block_sizes_change_nothing(X, times):
    """One partition: the past of rows is that of the order in which they are read."""
    whole = rig(logs(X, times=times, partitions=PARTITIONS[:1]), (10_000,)).run()
    cut = rig(logs(X, times=times, partitions=PARTITIONS[:1]), (7, 1, 64)).run()
    assert cut.scores == whole.scores
    assert [r.value for r in cut.sink.records] == [r.value for r in whole.sink.records]
    assert whole.engine.state.detector.members[1].sight.weight == 2.0
    assert all(set(record["features"]) == set(COLUMNS) for record in whole.anomalies())


def test_a_restart_goes_on_as_if_nothing_had_been(X):
    whole = rig(logs(X, partitions=PARTITIONS[:1]), (37, 250, 8)).run()
    for snapshot, committed in whole.snapshots[::9]:
        log = logs(X, partitions=PARTITIONS[:1])
        log.committed.update(committed)
        again = rig(log, (61, 5), whole.restored(snapshot)).run()
        assert again.scores == {where: whole.scores[where] for where in again.scores}


def test_a_sensor_that_freezes_stands_out(rng):
    X = waves(rng, 6000) + 0.2 * rng.normal(size=(6000, 3))
    X[5000:5200, 1] = 0.5
    usual = {}
    for committee in (["slow", "fast", "marginals"], ["slow", "fast", "marginals", "temporal"]):
        detector = StreamDetector.from_config({"model": {"committee": committee}}, fields=NAMES, explain=False)
        usual[len(committee)] = np.median(detector.process(X).p_value[5060:5200])
    assert usual[4] < 0.5 * usual[3]


def test_missing_cells_are_missing_in_the_past_as_well(rng):
    X = waves(rng, 6000)
    detector = StreamDetector.from_config({"detection": {"target_rate": 0.02}}, fields=NAMES, explain=False)
    X[rng.random(X.shape) < 0.1] = np.nan
    scored = detector.process(X)
    assert detector.engine.state.detector.voters[-1].name == "temporal"
    holed = np.isnan(X).any(axis=1)[2000:]
    flagged = scored.is_anomaly[2000:]
    assert np.isfinite(scored.log_density[2000:][~np.isnan(X[2000:]).all(axis=1)]).all()
    assert 0.2 < flagged[holed].mean() / max(flagged[~holed].mean(), 1e-9) < 5.0
