import time
from contextlib import nullcontext

import numpy as np

from streamgmm.engine.core import Engine
from streamgmm.engine.drive import drive
from streamgmm.engine.settings import EngineSettings
from streamgmm.refit.job import MemberSettings
from streamgmm.refit.runners import InlineRunner

SETTINGS = EngineSettings(
    ("a", "b"),
    (MemberSettings(n_components=2, window=300, refresh_every=50, refit_every=200),),
    min_records=200,
    step=50,
    target_rate=0.01,
    buffer=500,
)


class Given:
    """A pace that does as it is told."""

    def __init__(self):
        self.answer = True

    def allows(self):
        return self.answer

    def spending(self):
        return nullcontext()


def feed(engine, X):
    seen = engine.state.rows_seen
    hashes = np.arange(seen, seen + len(X), dtype=np.uint64)
    list(drive(engine, X, np.full(len(X), np.nan), hashes))
    return [event.kind for event in engine.events()]


def test_what_is_not_allowed_stays_due_and_is_made_up_for(rng):
    pace = Given()
    engine = Engine(SETTINGS, InlineRunner(time.monotonic), pace=pace)
    pace.answer = False
    assert "refit" in feed(engine, rng.normal(size=(200, 2)))  # without a first fit nothing could be scored
    version = engine.status().version
    assert not {"refresh", "refit", "refit_started"} & set(feed(engine, rng.normal(size=(500, 2))))
    assert engine.status().version == version
    assert engine.status().stretch == 1.0
    pace.answer = True
    assert {"refresh", "refit_started"} <= set(feed(engine, rng.normal(size=(50, 2))))
    assert engine.status().stretch == 11.0
    feed(engine, rng.normal(size=(50, 2)))
    assert engine.status().stretch == 1.0
