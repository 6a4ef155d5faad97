"""A backlog of several partitions is read in the order of the live stream: the same flags, and no drift of its own."""

import json
from dataclasses import replace

import numpy as np
import pytest
from rigs import NAMES, SETTINGS, Rig, packed

from streamgmm.codecs import Timestamp
from streamgmm.records import TopicPartition
from streamgmm.refit.job import MemberSettings
from streamgmm.sources.memory import MemoryLog, MemorySource, Record

PARTITIONS = tuple(TopicPartition("rows", i) for i in range(8))
KEYS = 20
ROWS = 6000
START = 1_700_000_000.0
LARGER = replace(
    SETTINGS,
    members=(MemberSettings(n_components=4, window=2000, refresh_every=200, refit_every=1000),),
    min_records=1000,
    step=100,
    buffer=2000,
)


class InTurns(MemorySource):
    """Hands over the partitions one after the other, as a fetch of a backlog does."""

    turns = PARTITIONS

    def _readable(self):
        return sorted(super()._readable(), key=self.turns.index)


def records(rng, form):
    """Return (partition, record) in the order of time: keys of levels of their own, each in its partition."""
    levels = rng.normal(size=(KEYS, 3)) * 4.0
    of_key = np.concatenate([np.arange(len(PARTITIONS)), rng.integers(len(PARTITIONS), size=KEYS - len(PARTITIONS))])
    busy = rng.dirichlet(np.full(KEYS, 2.0))
    made = []
    for i, key in enumerate(rng.choice(KEYS, size=ROWS, p=busy)):
        x = levels[key] + rng.normal(size=3) + 0.3 * np.sin(i / 500.0)
        x += 12.0 * (rng.random() < 0.004)
        time = START + 0.1 * i
        made.append((PARTITIONS[of_key[key]], form(x, time, b"k%d" % key)))
    return made


def stamped(x, time, key):
    """The record says when it was."""
    return Record(packed(x[None]), key, round(1000 * time))


def written(x, time, key):
    """The payload says when it was, and the record when the backlog was produced."""
    value = dict(zip(NAMES, x.tolist(), strict=True)) | {"at": time}
    return Record(json.dumps(value).encode(), key, 1_710_000_000_000)


def rig(log, form, sizes=(500,)):
    return Rig(
        log,
        sizes,
        settings=LARGER,
        codec="float64" if form is stamped else "json",
        timestamp=None if form is stamped else Timestamp("at", "s"),
    )


def live(made, form):
    """Records arrive a few at a time, and each is read at once."""
    log = MemoryLog({tp: [] for tp in PARTITIONS})
    daemon = rig(log, form)
    for start in range(0, len(made), 50):
        for tp, record in made[start : start + 50]:
            log.append(tp, record)
        while sum(daemon.source.lag().values()):
            daemon.loop.turn()
    return daemon.run()


def backlog(made, form, turns=None, sizes=(500,)):
    """Everything is there when the daemon starts."""
    items = {tp: [] for tp in PARTITIONS}
    for tp, record in made:
        items[tp].append(record)
    daemon = rig(MemoryLog(items), form, sizes)
    if turns is not None:
        daemon.source.__class__ = InTurns
        daemon.source.turns = turns
    return daemon.run()


def flagged(daemon):
    return {where for where, (_, _, flag, *_) in daemon.scores.items() if flag}


@pytest.mark.parametrize("form", [stamped, written])
def test_a_backlog_gives_the_flags_of_the_live_stream_and_no_drift_of_its_own(rng, form):
    made = records(rng, form)
    usual = live(made, form)
    shuffled = tuple(PARTITIONS[i] for i in rng.permutation(len(PARTITIONS)))
    for turns in (None, PARTITIONS, PARTITIONS[::-1], shuffled):
        caught_up = backlog(made, form, turns)
        assert caught_up.times_scored.keys() == usual.times_scored.keys()
        assert set(caught_up.times_scored.values()) == {1}
        a, b = flagged(usual), flagged(caught_up)
        assert len(a) > 20
        assert len(a & b) >= 0.9 * len(a | b)
        assert len(usual.events("drift")) == len(caught_up.events("drift"))
        assert caught_up.log.committed == {tp: caught_up.log.end(tp) for tp in PARTITIONS}
