"""The figures as Markdown."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

from contenders import BASELINES
from shares import ESSENTIAL, STAGES

TITLES = {
    "kafka-python": "kafka-python + json or frombuffer + scikit-learn",
    "confluent": "confluent-kafka + msgspec or frombuffer + scikit-learn",
    "quixstreams": "quixstreams + scikit-learn",
    "river": "confluent-kafka + river HalfSpaceTrees",
    "raw": "*ceiling: fetch requests on a socket, nothing parsed*",
    "confluent-only": "*ceiling: confluent-kafka, nothing decoded*",
}
HOLDS = {
    "float32": "packed float32, one vector a record",
    "json": "JSON objects",
    "matrices": "packed float32, 64 vectors a record",
    "slow": "packed float32, timestamps one second apart: every row is learnt",
}
BEST_AIM, PLAIN_AIM = {"float32": 3.0, "json": 3.5}, 12.0
MATRIX_AIM, LEARNING_AIM, ESSENTIAL_AIM = 1_500_000, 1.25, 0.7


def heading(topics, quick):
    """Say what was measured on what."""
    packages = ("confluent-kafka", "kafka-python", "quixstreams", "river", "scikit-learn", "numpy")
    sizes = ", ".join(
        f"{HOLDS[name]}: {t.records:,} records of {t.bytes_per_record:.0f} B"
        for name, t in topics.items()
        if name in HOLDS
    )
    return (
        f"{_processor()}, {os.cpu_count()} cores (broker and clients share them), Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in packages)
        + f". Apache Kafka, one partition, uncompressed, batches as librdkafka makes them under load. {sizes}. "
        "16 features of a mixture of 8 components; the daemon has `n_components: 8, covariance_type: full, committee: "
        "single, target_rate: 1e-4` unless defaults are named, the baselines a mixture of the same shape. Everybody "
        "flags, and produces what it flags. Learning is paused by a schedule that is never due. CPU is user and "
        "system time of the whole process, by the slope between two run lengths. `make bench-stream` measures it again."
        + (" **A quick run: one round.**" if quick else "")
    )


def _processor():
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def costs(measured):
    """Return a table per topic: CPU by the slope between two run lengths, median over rounds (least to greatest)."""
    names = [name for name in HOLDS if (name, "daemon") in measured]
    parts = [_topic(name, {who: m for (t, who), m in measured.items() if t == name}) for name in names]
    return "### What a row costs\n\n" + "\n\n".join([*parts, _verdicts(measured)])


def _topic(name, measured):
    lines = [
        f"{HOLDS[name][0].upper()}{HOLDS[name][1:]}:",
        "",
        "| who | rows/s | CPU µs a row | least – greatest | times the daemon's | peak RSS |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    ours = measured["daemon"].cpu_per_row()[0]
    for who, m in measured.items():
        middle, least, most = (1e6 * value for value in m.cpu_per_row())
        lines.append(
            f"| {TITLES.get(who, who)} | {m.rows_per_second()} | {middle:.3f} | {least:.3f} – {most:.3f} "
            f"| {middle / 1e6 / ours:.2f} | {max(m.rss) / 1e6:.0f} MB |"
        )
    return "\n".join(lines)


def _verdicts(measured):
    """Return the aims and how near we came."""
    cost = {key: m.cpu_per_row()[0] for key, m in measured.items()}
    lines = ["| aim | asked | found |", "|---|--:|--:|"]
    for name, aim in BEST_AIM.items():
        best = min((who for t, who in cost if t == name and who in BASELINES), key=lambda who: cost[name, who])
        lines += [
            _aim(
                f"{HOLDS[name]}: CPU of the best baseline ({best}) / ours", aim, cost[name, best] / cost[name, "daemon"]
            ),
            _aim(
                f"{HOLDS[name]}: CPU of kafka-python + scikit-learn / ours",
                PLAIN_AIM,
                cost[name, "kafka-python"] / cost[name, "daemon"],
            ),
        ]
    lines.append(f"| packed matrices: rows per CPU second | ≥ {MATRIX_AIM:,} | {1 / cost['matrices', 'daemon']:,.0f} |")
    for (name, who), paid in cost.items():
        if (name, f"{who}, learning paused") in cost:
            ratio = paid / cost[name, f"{who}, learning paused"]
            lines.append(f"| {HOLDS[name]}, {who}: CPU learning / paused | ≤ {LEARNING_AIM}× | {ratio:.2f}× |")
    return "\n".join(lines)


def _aim(what, aim, found):
    return f"| {what} | ≥ {aim:g}× | {found:.1f}× |"


def latency(measured):
    """Return the table of live runs."""
    lines = [
        "### From produce to a visible anomaly",
        "",
        "JSON objects, produced while the daemon reads; 25 planted anomalies a second, or one in a thousand records.",
        "",
        "| offered/s | scored/s | p50 | p99 | anomalies seen | refreshes, refits | CPU µs a row | cores | RSS |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for special, m in measured:
        lines.append(
            f"| {m.rate:,}{', ' + special if special else ''} | {m.offered:,.0f} | {1e3 * m.quantile(0.5):.0f} ms "
            f"| {1e3 * m.quantile(0.99):.0f} ms | {len(m.seconds)} of {m.planted} | {m.refreshes}, {m.refits} "
            f"| {1e6 * m.cpu_per_row:.1f} | {m.cpu_per_row * m.offered:.2f} | {m.rss_bytes / 1e6:.0f} MB |"
        )
    return "\n".join(lines)


def shares(profiles):
    """Return where the daemon's CPU goes."""
    lines = [
        "### Where the daemon's CPU goes",
        "",
        "py-spy at full load: share of the samples of busy threads, by the innermost frame that belongs to a stage.",
        "",
        "| stage | " + " | ".join(HOLDS[name] for name in profiles) + " |",
        "|---" + "|--:" * len(profiles) + "|",
    ]
    stages = [*dict.fromkeys(stage for _, stage in STAGES), "the rest"]
    for stage in stages:
        cells = (f"{100 * p.stages[stage] / p.samples:.1f} %" for p in profiles.values())
        lines.append(f"| {stage} | " + " | ".join(cells) + " |")
    cells = (f"**{100 * p.essential():.1f} %**" for p in profiles.values())
    lines.append(f"| **{', '.join(ESSENTIAL)}** (asked: ≥ {ESSENTIAL_AIM:.0%}) | " + " | ".join(cells) + " |")
    return "\n".join(lines)
