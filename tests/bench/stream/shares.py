"""Where the daemon's own CPU goes at full load: py-spy's samples, by stage of a record's way."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from daemon import running

# The innermost frame whose file matches decides; of the patterns, the first. A kernel has no frame of its own: its time
# stands on the line that calls it.
ONE_BY_ONE = "one record at a time in Python"
STAGES = (
    (
        r"calc_crc32c|kafka/(net|protocol)/|codegen_decode|^(_received?|_receive_tls|_read|_write) |ssl\.py|socket\.py",
        "fetching bytes",
    ),
    (r"kafka/codec|_decompress|gzip\.py|zstandard|lz4|snappy|cramjam", "decompression"),
    (r"kafka/record/|PartitionRecords|bus/one_by_one|codecs/_(typed|objects|payload|envelopes)", ONE_BY_ONE),
    (r"^\w+\._careful |^JsonCodec\._(read|assemble)|^(parse|_text) ", ONE_BY_ONE),
    (r"streamgmm/(bus|codecs|sources)/", "compiled decoding"),
    (r"streamgmm/features/", "features"),
    (r"streamgmm/refit/|engine/(learning|window)|mixture/(em|e_step|m_step|seeding|statistics)", "learning"),
    (r"streamgmm/(mixture|detector)/|engine/(verdicts|calibration)", "scoring"),
    (r"streamgmm/engine/", "the engine's bookkeeping"),
    (r"streamgmm/(sinks|delivery|rendering)|kafka/producer", "explaining and delivering"),
    (
        r"streamgmm/telemetry|prometheus_client|streamgmm/(reporting|supervisor|ledger|budget)",
        "telemetry and supervision",
    ),
    (r"kafka/", "the Kafka client's bookkeeping"),
)
RATE, SECONDS = "400", "20"
# The main thread belongs to the start, or to the stop, unless it is in the loop.
STARTED, LOOP = "streamgmm/__main__.py", "streamgmm/loop.py"
ESSENTIAL = ("fetching bytes", "decompression", "compiled decoding", "scoring")
# py-spy counts threads that only wait as busy where it cannot read their state.
WAITING = re.compile(
    r"selectors\.py|^(Condition|Event|Semaphore)\.wait|threading\.py|queue\.py|^ThreadRunner\._work|^sleep|socketserver"
    r"|accept|^NetworkSelector\.(_select|select|wakeup)"
)


@dataclass(frozen=True)
class Profile:
    """Samples of busy threads: innermost functions, functions anywhere on the stack, and stages."""

    samples: int
    functions: Counter[str]
    cumulative: Counter[str]
    stages: Counter[str]

    def essential(self):
        """Return the share of the stages that do what the daemon is there for."""
        return sum(self.stages[stage] for stage in ESSENTIAL) / max(1, self.samples)


def record(command, folder):
    """Profile a daemon at full load from its start to the end of its topic and return py-spy's raw stacks."""
    raw = folder / "profile.raw"
    with running(command, folder / "profiled.log") as (daemon, _):
        spy = [str(Path(sys.executable).parent / "py-spy"), "record", "--format", "raw", "--function"]
        spy += ["--rate", RATE, "--duration", SECONDS, "--output", str(raw), "--pid", str(daemon.pid)]
        subprocess.run(spy, check=True, capture_output=True, text=True)
    return raw.read_text()


def read(raw):
    """Return a profile of py-spy's raw stacks ("outermost;…;innermost count")."""
    profile = Profile(0, Counter(), Counter(), Counter())
    samples = 0
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        starting = any(STARTED in frame for frame in frames) and not any(LOOP in frame for frame in frames)
        if not stack or starting or WAITING.search(frames[-1]):
            continue
        n = int(count)
        samples += n
        profile.functions[frames[-1]] += n
        profile.cumulative.update(dict.fromkeys(set(frames), n))
        profile.stages[stage_of(frames)] += n
    return Profile(samples, profile.functions, profile.cumulative, profile.stages)


def stage_of(frames):
    """Return the stage of the innermost frame that belongs to one."""
    for frame in reversed(frames):
        for pattern, stage in STAGES:
            if re.search(pattern, frame):
                return stage
    return "the rest"


def listing(profile, top=25):
    """Return the most expensive functions, by themselves and with what they call, as text."""
    lines = [f"{profile.samples} samples of busy threads", "  self  with callees  function"]
    for by in (profile.functions, profile.cumulative):
        for function, _ in by.most_common(top):
            alone, inclusive = profile.functions[function], profile.cumulative[function]
            lines.append(f"{100 * alone / profile.samples:5.1f}% {100 * inclusive / profile.samples:6.1f}%  {function}")
        lines.append("")
    lines += [f"{100 * n / profile.samples:5.1f}%  {stage}" for stage, n in profile.stages.most_common()]
    return "\n".join([*lines, f"{100 * profile.essential():.1f}% in {', '.join(ESSENTIAL)}"])
