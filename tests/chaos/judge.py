"""What must be true of every chaos run. Each check can fail, and says what it saw."""

from __future__ import annotations

import base64
import itertools
import json
from typing import TYPE_CHECKING, NamedTuple

from chaos import plan as plans

from streamgmm.records import REJECT_REASONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaos.play import Seen

MOST_GROWTH = 1.05
EARLY, LATE = 0.4, 1.0
LEAST_LOOKS = 10


class Check(NamedTuple):
    """One thing that must be true."""

    what: str
    ok: bool
    seen: str


def judge(seen: Seen) -> list[Check]:
    """Check everything that holds with and without kills."""
    checks = [_stream(seen), _planted(seen), _dead_letters(seen), _only_malformed(seen)]
    checks += [_never_back(seen), _to_the_end(seen), _snapshots(seen), _restored(seen), _serving(seen)]
    return [*checks, _processes(seen)]


def memory(seen: Seen) -> Check:
    """Check that resident memory has stopped growing at 40 % of an undisturbed run."""
    early = next((rss for at, rss in seen.memory if at >= EARLY), 0)
    late = [rss for at, rss in seen.memory if at >= LATE]
    ratio = late[-1] / early if early and late else float("inf")
    first = seen.memory[0][1] if seen.memory else 0
    sizes = " → ".join(f"{rss / 2**20:.1f}" for rss in (first, early, late[-1] if late else 0))
    return Check(
        f"RSS at the end ≤ {MOST_GROWTH} × RSS at 40 %", ratio <= MOST_GROWTH, f"{sizes} MiB, ratio {ratio:.3f}"
    )


def table(checks: Sequence[Check]) -> str:
    """Return checks as text."""
    width = max(len(c.what) for c in checks)
    return "\n".join(f"{'ok' if c.ok else 'FAILED':7}{c.what:{width}}  {c.seen}" for c in checks)


def _stream(seen: Seen) -> Check:
    ledger, plan = seen.ledger, seen.plan
    wanted = plan.rows + plan.malformed
    as_planned = (seen.kills, seen.node_kills) == (plan.kills, plan.node_kills)
    whole = sum(seen.ends.values()) == wanted and len(ledger["malformed"]) == plan.malformed
    return Check(
        "the stream was what it should be",
        bool(whole and ledger["planted"] and as_planned),
        f"{sum(seen.ends.values())} records on the topic at {ledger['rate']:.0f}/s "
        f"(at worst {1000 * ledger['late']:.0f} ms late), {len(ledger['planted'])} planted from record "
        f"{ledger['first_planted']} on, {len(ledger['malformed'])} malformed, {seen.kills} kills, "
        f"{seen.node_kills} of brokers, {seen.seconds:.0f} s",
    )


def _planted(seen: Seen) -> Check:
    ids = [json.loads(record.value)["id"] for record in seen.anomalies]
    found = set(ids)
    wanted = {f"{plans.TOPIC}/{e['partition']}/{e['offset']}/0" for e in seen.ledger["planted"]}
    lost = wanted - found
    return Check(
        "every planted anomaly is on the anomalies topic",
        bool(wanted) and not lost,
        f"{len(wanted & found)} of {len(wanted)}; {len(ids)} anomaly records, {len(ids) - len(found)} of them "
        f"repeated{_first(lost)}",
    )


def _dead_letters(seen: Seen) -> Check:
    letters = {}
    for record in seen.dead_letters:
        headers = dict(record.headers)
        letters.setdefault(headers.get("streamgmm-source", b"").decode(), []).append(record)
    wrong = []
    for entry in seen.ledger["malformed"]:
        source = f"{plans.TOPIC}/{entry['partition']}/{entry['offset']}"
        copies = letters.get(source, [])
        if not copies or not all(_intact(record, entry) for record in copies):
            wrong.append(source)
    repeated = len(seen.dead_letters) - len(letters)
    return Check(
        "every malformed payload is a dead letter as it came, with its reason",
        bool(seen.ledger["malformed"]) and not wrong,
        f"{len(seen.ledger['malformed']) - len(wrong)} of {len(seen.ledger['malformed'])}; {repeated} repeated"
        f"{_first(wrong)}",
    )


def _intact(record: object, entry: dict[str, object]) -> bool:
    headers = dict(record.headers)
    reason = headers.get("streamgmm-reason", b"").decode()
    return (
        record.value == base64.b64decode(entry["value"])[: plans.OVERSIZE]
        and record.key == entry["key"].encode()
        and headers.get("number") == str(entry["number"]).encode()
        and reason in REJECT_REASONS
        and reason == entry["reason"]
    )


def _only_malformed(seen: Seen) -> Check:
    sources = {dict(r.headers).get("streamgmm-source", b"").decode() for r in seen.dead_letters}
    malformed = {f"{plans.TOPIC}/{e['partition']}/{e['offset']}" for e in seen.ledger["malformed"]}
    wrong = sources - malformed
    return Check("nothing else is a dead letter", not wrong, f"{len(wrong)} sound records among them{_first(wrong)}")


def _never_back(seen: Seen) -> Check:
    steps = [
        (partition, before[partition], after[partition])
        for before, after in itertools.pairwise(seen.committed)
        for partition in after
        if after[partition] < before[partition]
    ]
    looked = len(seen.committed)
    enough = looked > LEAST_LOOKS
    return Check(
        "committed offsets never go back",
        enough and not steps,
        f"looked {looked} times ({len(seen.watch_problems)} in vain){_first(steps)}",
    )


def _to_the_end(seen: Seen) -> Check:
    last = seen.committed[-1] if seen.committed else {}
    return Check(
        "committed offsets end at the high watermark", bool(last) and last == seen.ends, f"{last} of {seen.ends}"
    )


def _snapshots(seen: Seen) -> Check:
    return Check(
        "every snapshot on disk is readable",
        seen.snapshots_read > 0 and not seen.damaged,
        f"{seen.snapshots_read} read, after each of {seen.kills} kills and at the end{_first(seen.damaged)}",
    )


def _restored(seen: Seen) -> Check:
    wrong = [(s.expected, s.restored) for s in seen.starts if s.came_up and s.restored != _shown(s.expected, s)]
    up = sum(s.came_up for s in seen.starts)
    return Check(
        "every start restores the newest snapshot",
        up > 0 and not wrong,
        f"{len(seen.starts)} starts, {up} came up, {sum(s.restored is not None for s in seen.starts)} restored a "
        f"model{_first(wrong)}",
    )


def _shown(expected: str | None, start: object) -> str | None:
    # A snapshot without a model is restored as well, and the log then names no version.
    return start.restored if expected is None and start.restored in {None, "None"} else expected


def _serving(seen: Seen) -> Check:
    newest, serving = seen.serving
    return Check(
        "the newest snapshot serves at the end",
        newest == serving and newest not in {"", "None"},
        f"snapshot {newest}, serving {serving}",
    )


def _processes(seen: Seen) -> Check:
    return Check(
        "the daemon never ended by itself, and SIGTERM ends it with 143",
        not seen.died and seen.exit_code == 143,
        f"exit code {seen.exit_code}{_first(seen.died)}",
    )


def _first(items: object) -> str:
    """Return the first of what should not be, for a person to look into."""
    item = next(iter(items), None)
    return "" if item is None else f"; for one: {item}"
