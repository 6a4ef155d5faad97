"""A record never contradicts its own numbers, over whole runs, by whatever a row is judged."""

import json
from dataclasses import replace

import numpy as np
import pytest
from rigs import SETTINGS, Rig, logs, rows

from streamgmm import StreamDetector
from streamgmm.demo.stream import load
from streamgmm.records import CRITICAL_SCORE

JUDGED = {
    "adaptive": {"level": "adaptive"},
    "fixed": {"level": "fixed"},
    "stated": {"log_density_below": -14.0},
}


def agrees(flagged, p, level, log_density, threshold):
    """Whether the flag is what the numbers beside it say."""
    by_density = log_density < threshold
    return flagged == by_density and (level is None or flagged == (p <= level))


@pytest.mark.parametrize("judged", JUDGED)
def test_every_record_agrees_with_its_numbers(rng, judged):
    settings = replace(SETTINGS, **JUDGED[judged])
    rig = Rig(logs(rows(rng, 4000)), (64, 7), settings=settings, sinks=("anomalies", "all")).run()
    records = [json.loads(record.value) for record in rig.sink.records]
    flagged = [r for r in records if "severity" in r]
    scored = [r for r in records if r.get("status") == "scored"]
    assert len(flagged) > 10
    assert len(scored) > 3000
    for r in flagged:
        assert agrees(True, r["p_value"], r["level"], r["log_density"], r["threshold"]), r
        rare = r["level"] is None or r["p_value"] <= settings.target_rate
        assert r["severity"] == ("notice" if not rare else "critical" if r["score"] >= CRITICAL_SCORE else "warning")
    for r in scored:
        assert agrees(r["is_anomaly"], r["p_value"], r["level"], r["log_density"], r["threshold"]), r


@pytest.mark.parametrize("level", ["adaptive", "fixed"])
def test_the_demo_s_stream_agrees_with_its_numbers(level):
    stream = load()
    detector = StreamDetector.from_config(
        {"detection": {"target_rate": 0.007, "level": level}}, fields=list(stream.fields)
    )
    said = detector.process(np.asarray(stream.X, dtype=float))
    scored = np.isfinite(said.p_value)
    np.testing.assert_array_equal(said.is_anomaly, scored & (said.p_value <= said.level))
    np.testing.assert_array_equal(said.is_anomaly, scored & (said.log_density < said.threshold))
    alarms = said.severity >= 1
    assert (said.p_value[alarms] <= 0.007).all()
    assert alarms.sum() > 10
