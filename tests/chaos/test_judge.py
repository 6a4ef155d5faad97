"""Every check of a chaos run can fail: a run that went well is spoilt in one place at a time."""

from __future__ import annotations

import base64
import json
from types import SimpleNamespace

import pytest
from chaos.judge import judge, memory
from chaos.plan import SHORT
from chaos.play import Seen, Start

PLAN = SHORT.undisturbed()


def good():
    """Return what a run shows in which all went well: one planted anomaly, every malformed payload."""
    plan = PLAN
    malformed = [
        {
            "value": base64.b64encode(b"%d" % i).decode(),
            "key": f"malformed {i}",
            "number": i,
            "reason": "dimension",
            "partition": 0,
            "offset": i,
        }
        for i in range(plan.malformed)
    ]
    letters = [
        SimpleNamespace(
            value=b"%d" % i,
            key=b"malformed %d" % i,
            headers=[
                ("number", b"%d" % i),
                ("streamgmm-reason", b"dimension"),
                ("streamgmm-source", b"rows/0/%d" % i),
            ],
        )
        for i in range(plan.malformed)
    ]
    total = plan.rows + plan.malformed
    return Seen(
        plan=plan,
        seconds=plan.seconds,
        ledger={
            "malformed": malformed,
            "planted": [{"partition": 1, "offset": 7}],
            "rate": plan.rate,
            "late": 0.0,
            "first_planted": 7,
        },
        anomalies=[SimpleNamespace(value=json.dumps({"id": "rows/1/7/0"}).encode())],
        dead_letters=letters,
        committed=[{0: i, 1: 0} for i in range(int(3 * plan.seconds))] + [{0: total, 1: 0}],
        ends={0: total, 1: 0},
        memory=[(0.1, 90), (0.4, 100), (0.7, 101), (1.0, 104)],
        starts=[Start(None, "streamgmm started"), Start("3.1", "restored model 3.1\nstreamgmm started")],
        snapshots_read=5,
        exit_code=143,
        serving=("3.1", "3.1"),
    )


def failing(seen):
    return [check.what for check in [*judge(seen), memory(seen)] if not check.ok]


def spoil_header(seen, name, value):
    seen.dead_letters[5].headers = [(n, value if n == name else v) for n, v in seen.dead_letters[5].headers]


SPOILT = {
    "the stream was what it should be": [
        lambda s: s.ends.update({1: 1}) or s.committed.append(dict(s.ends)),
        lambda s: setattr(s, "kills", 1),
    ],
    "every planted anomaly is on the anomalies topic": [lambda s: s.anomalies.clear()],
    "every malformed payload is a dead letter as it came, with its reason": [
        lambda s: s.dead_letters.pop(),
        lambda s: setattr(s.dead_letters[3], "value", b"other"),
        lambda s: setattr(s.dead_letters[3], "key", None),
        lambda s: spoil_header(s, "number", b"x"),
        lambda s: spoil_header(s, "streamgmm-reason", b"because"),
        lambda s: spoil_header(s, "streamgmm-reason", b"decode"),
    ],
    "nothing else is a dead letter": [
        lambda s: s.dead_letters.append(SimpleNamespace(headers=[("streamgmm-source", b"rows/2/1")]))
    ],
    "committed offsets never go back": [
        lambda s: s.committed.insert(-1, {0: 1, 1: 0}),
        lambda s: s.committed.__delitem__(slice(0, -2)),
    ],
    "committed offsets end at the high watermark": [lambda s: s.committed[-1].update({0: s.ends[0] - 1})],
    "every snapshot on disk is readable": [
        lambda s: s.damaged.append("sha256 does not match"),
        lambda s: setattr(s, "snapshots_read", 0),
    ],
    "every start restores the newest snapshot": [
        lambda s: setattr(s.starts[1], "expected", "4.0"),
        lambda s: setattr(s.starts[1], "log", "streamgmm started"),
        lambda s: setattr(s.starts[0], "log", "restored model 9.9\nstreamgmm started"),
    ],
    "the newest snapshot serves at the end": [
        lambda s: setattr(s, "serving", ("3.1", "2.0")),
        lambda s: setattr(s, "serving", ("None", "None")),
    ],
    "the daemon never ended by itself, and SIGTERM ends it with 143": [
        lambda s: s.died.append("exit code 1"),
        lambda s: setattr(s, "exit_code", 0),
        lambda s: setattr(s, "exit_code", None),
    ],
    "RSS at the end ≤ 1.05 × RSS at 40 %": [
        lambda s: s.memory.append((1.0, 106)),
        lambda s: s.memory.pop(),
        lambda s: s.memory.clear(),
    ],
}


def test_a_run_that_went_well_passes():
    assert failing(good()) == []


@pytest.mark.parametrize(
    ("what", "spoil"), [(what, spoil) for what, ways in SPOILT.items() for spoil in ways], ids=lambda x: str(x)[:40]
)
def test_a_check_fails_when_what_it_says_is_not_so(what, spoil):
    seen = good()
    spoil(seen)
    assert failing(seen) == [what]


def test_every_check_is_spoilt_once():
    assert {check.what for check in [*judge(good()), memory(good())]} == set(SPOILT)
