"""A fixed level flags the share it was told to, on streams that never change (`bench_calibration` takes longer)."""

import numpy as np
import pytest
from stationary import SHAPES, stationary

from streamgmm import StreamDetector


@pytest.mark.parametrize("shape", SHAPES)
def test_a_fixed_level_flags_the_target_rate(shape):
    config = {"detection": {"target_rate": 0.01, "level": "fixed"}}
    detector = StreamDetector.from_config(config, fields=["a", "b", "c"], explain=False)
    scored = detector.process(stationary(shape, 40_000, 3))
    assert scored.is_anomaly[1000:].mean() == pytest.approx(0.01, rel=0.2)
    assert not any(event.kind == "drift" for event in detector.engine.events())
    assert scored.version[-1, 0] >= 5
    assert np.isfinite(scored.log_density[1000:]).all()
