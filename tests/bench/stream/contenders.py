"""Who is compared with whom, on which topic."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from daemon import BENCHED, PAUSED, PAUSED_COMMITTEE, Daemons
from processes import HERE, Contender
from sklearn.mixture import GaussianMixture
from topics import COMPONENTS, Stream, Topic

if TYPE_CHECKING:
    from pathlib import Path

OUT = "bench-anomalies"
TARGET = 1e-4
TRAINING_ROWS = 20_000
BASELINES = ("kafka-python", "confluent", "quixstreams", "river")
CEILINGS = ("raw", "confluent-only")
QUICKLY = ("kafka-python", "confluent", "raw")
# Records of the shorter run, after which nothing happens for the first time any more.
LONG = 10
SHORT = {"raw": 100_000, "confluent-only": 100_000, "confluent": 100_000, "kafka-python": 30_000, "quixstreams": 20_000}
SHORT |= {"river": 10_000, "daemon": 100_000, "slow": 70_000}
EXPENSIVE = {"river": 1, "quixstreams": 2, "kafka-python": 2}  # how many rounds they take part in
DAEMONS = {  # what it is called, its sections
    "daemon": BENCHED,
    "daemon, learning paused": BENCHED | {"learning": PAUSED},
    "daemon, package defaults": {},
    "daemon, package defaults, learning paused": {"model": PAUSED_COMMITTEE},
}


@dataclass
class Bench:
    """A broker with filled topics, and daemons on it."""

    servers: str
    folder: Path
    topics: dict[str, Topic]
    daemons: Daemons = field(init=False)
    _warm: dict[tuple[str, bool], Path] = field(default_factory=dict)

    def __post_init__(self):
        self.daemons = Daemons(self.servers, self.folder, OUT)

    def until_end(self, where, sections):
        """Return what makes the command of a daemon, warmed up on a smaller topic of the same kind, for n records."""
        kind = "float32" if where == "matrices" else where
        key = kind, "detection" in sections
        if key not in self._warm:
            like = BENCHED if "detection" in sections else {}
            self._warm[key] = self.daemons.warmed(self.topics[f"{kind}-warm"], like)
        return self.daemons.until_end(self.topics[where], sections, self._warm[key])


def contenders(bench, quick):
    """Return everybody, named (topic, who)."""
    model = trained(bench.folder / "model.npz")
    against = QUICKLY if quick else BASELINES + CEILINGS
    chosen = [(t, who) for t in ("float32", "json") for who in against] + [("matrices", "confluent")]
    found = [baseline(bench, t, who, model) for t, who in chosen]
    streamed = [("float32", who) for who in list(DAEMONS)[: 2 if quick else 4]]
    streamed += [("json", who) for who in list(DAEMONS)[: 2 if quick else 3]]
    streamed += [("matrices", "daemon")]
    streamed += [("slow", who) for who in list(DAEMONS)[: 0 if quick else 4]]
    return found + [streamgmm(bench, t, who) for t, who in streamed]


def baseline(bench, where, who, model):
    topic = bench.topics[where]

    def command(n):
        span = (str(topic.records - n), str(topic.records))
        return [str(HERE / "baselines.py"), who, topic.codec, bench.servers, topic.name, *span, str(model), OUT]

    short = SHORT[who] // topic.rows_per_record
    if who in EXPENSIVE:
        return Contender((where, who), topic, command, short, 4 * short, EXPENSIVE[who])
    return Contender((where, who), topic, command, short, LONG * short)


def streamgmm(bench, where, who):
    topic = bench.topics[where]
    command = bench.until_end(where, DAEMONS[who])
    short = SHORT["slow" if where == "slow" else "daemon"] // topic.rows_per_record
    return Contender((where, who), topic, command, short, LONG * short)


def trained(path):
    """Write what the baselines score with: a mixture that scikit-learn fitted on rows of the same stream."""
    X = Stream(1).rows(TRAINING_ROWS, anomalies=0.0)
    model = GaussianMixture(COMPONENTS, random_state=0).fit(X)
    np.savez(
        path, weights=model.weights_, means=model.means_, covariances=model.covariances_,
        precisions_cholesky=model.precisions_cholesky_, threshold=np.quantile(model.score_samples(X), TARGET),
    )  # fmt: skip
    return path
