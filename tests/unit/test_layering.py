"""What may import what. The table is the house's plan: a new arrow is a decision, made here and nowhere else."""

import ast
import re
import sys
from pathlib import Path

import pytest

import streamgmm

ROOT = Path(streamgmm.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

ALL = "*"
# Room, or file of the spine → what it may import. `sources!` is the family's protocols alone, none of its members;
# `engine.thinning` is one module. Imports inside functions and under TYPE_CHECKING count: an arrow is an arrow.
MAY_IMPORT = {
    "__init__": {"mixture", "stream_detector"},
    "__main__": {"cli"},
    "stop": set(),
    "startup": {"app", "compiled", "config", "stop", "telemetry"},
    "app": {ALL},
    "assembly": {"checkpoint", "config", "engine", "errors", "features", "records", "refit"},
    "wiring": {ALL},
    "backlog": {"bus", "config", "errors", "order", "records", "wiring"},
    "probe": {
        "assembly",
        "bus",
        "checkpoint",
        "codecs!",
        "config",
        "engine",
        "errors",
        "features",
        "records",
        "sources!",
        "wiring",
    },
    "compiled": set(),
    "private": set(),
    "budget": set(),
    "cli": {
        "backlog",
        "codecs!",
        "config",
        "demo",
        "engine",
        "errors",
        "mixture",
        "offline",
        "plots",
        "private",
        "records",
        "refit",
        "registry",
        "snapshots",
        "probe",
        "startup",
        "stop",
        "stream_detector",
    },
    "offline": {
        "assembly",
        "checkpoint",
        "codecs",
        "config",
        "detector",
        "engine",
        "errors",
        "features",
        "mixture",
        "records",
        "refit",
        "snapshots",
        "sources._csv",
        "stream_detector",
    },
    "plots": {"engine.incidents", "errors", "mixture", "private", "records"},
    # The library's face: its from_config reads the same file as the daemon.
    "stream_detector": {
        "assembly",
        "config",
        "detector",
        "engine",
        "errors",
        "features",
        "mixture",
        "records",
        "refit",
    },
    "loop": {
        "codecs!",
        "delivery",
        "engine",
        "errors",
        "features",
        "ledger",
        "order",
        "paging",
        "records",
        "reporting",
        "sources!",
    },
    "ledger": {"engine.thinning", "records", "sources!"},
    "order": {"records"},
    "reporting": {"engine.window", "ledger", "records"},
    "checkpoint": {"detector", "engine", "errors", "features", "records", "snapshots"},
    "delivery": {"errors", "records", "sinks!", "sources!"},
    "supervisor": {"errors", "records"},
    "rendering": {"codecs!", "errors", "ledger", "paging", "records", "sinks!", "sinks._rendering", "sinks._scores"},
    "paging": {"engine.incidents", "records"},
    "warmth": {"detector", "engine", "errors", "mixture", "records", "refit"},
    "cache_kernels": set(),
    "engine": {"cache_kernels", "detector", "errors", "features", "mixture", "records", "refit"},
    "refit": {"detector", "errors", "mixture", "records"},
    "detector": {"errors", "mixture", "records"},
    "features": {"cache_kernels", "errors", "records", "registry"},
    "mixture": {"cache_kernels", "errors"},
    "codecs": {"cache_kernels", "errors", "records", "registry"},
    "sources": {"errors", "order", "private", "records", "registry"},
    "sources.kafka": {"bus", "errors", "records", "registry"},
    "sources._kafka_settings": {"bus", "errors"},
    "sources._kafka_starting": {"bus", "records"},
    "sinks": {"errors", "private", "records", "registry"},
    "sinks.kafka": {"bus", "errors", "records", "registry"},
    "bus": {"cache_kernels", "errors", "order", "records"},
    "snapshots": {"errors", "private"},
    "telemetry": {"cache_kernels", "errors", "records", "supervisor"},
    "config": {"errors", "records", "registry"},
    "demo": {"bus", "cli", "compiled", "errors", "records"},
    "records": {"errors"},
    "registry": {"errors"},
    "errors": set(),
}

# Outside library → the files that may import it.
HOMES = {
    "numba": r".*kernels\.py",
    "llvmlite": r".*kernels\.py",
    "kafka": r"bus/.*|(sources|sinks)/_?kafka\w*\.py|demo/.*",
    "crc32c": r"bus/.*",
    "prometheus_client": r"telemetry/.*",
    "yaml": r"config/.*",
    "pydantic": r"config/.*",
    "pydantic_core": r"config/.*",
    # Not a dependency: asked for its tags by those who have it.
    "sklearn": r"mixture/parametrised\.py",
    # An extra.
    "matplotlib": r"plots/.*",
    "pyarrow": r"offline/parquet\.py",
    # An extra.
    "fastavro": r"codecs/avro\.py",
    "msgspec": r".*",
    "numpy": r".*",
    "scipy": r".*",
}
# The guard is a process of its own, and the command line needs one number for an exit code.
SIGNAL_HOMES = r"cli/run\.py|cli/__init__\.py|demo/guard\.py"
HANDLER_HOMES = r"cli/run\.py|demo/guard\.py"


def imports(text, package):
    """Yield every module that a file imports, with its submodules where `from` names one."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            named = [f"{module}.{alias.name}" for alias in node.names]
            modules = [name for name in named if is_module(name)]
            yield from modules
            if len(modules) < len(named):
                yield module


def is_module(name):
    path = ROOT.parent.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def rule_of(path):
    """Return the table's row for a file: its own, or its room's."""
    parts = path.with_suffix("").parts
    return next((name for name in (".".join(parts), parts[0]) if name in MAY_IMPORT), None)


def forbidden(path, text):
    """Return our modules that a file imports against the table."""
    rule = rule_of(path)
    allowed = MAY_IMPORT[rule]
    room = path.with_suffix("").parts[0]
    package = ".".join(("streamgmm", *path.parent.parts))
    ours = (name.partition(".")[2] for name in imports(text, package) if name.split(".")[0] == "streamgmm")
    return {name for name in ours if name and not allows(allowed, room, name)}


def allows(allowed, room, name):
    target = name.split(".")[0]
    return bool(allowed & {ALL, target, name}) or target == room or (name == target and f"{target}!" in allowed)


def test_every_file_has_a_row():
    homeless = [str(path) for path in map(relative, FILES) if rule_of(path) is None]
    assert not homeless, "new files of the spine need a row in the table"


def relative(path):
    return path.relative_to(ROOT)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(relative(path)))
def test_our_imports_follow_the_table(path):
    assert not forbidden(relative(path), path.read_text())


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(relative(path)))
def test_outside_libraries_stay_at_home(path):
    place = relative(path).as_posix()
    outside = {name.split(".")[0] for name in imports(path.read_text(), "")} - {"streamgmm", "__future__"}
    unknown = {name for name in outside if name not in sys.stdlib_module_names and name not in HOMES}
    abroad = {name for name in outside & set(HOMES) if not re.fullmatch(HOMES[name], place)}
    assert not unknown, "a new dependency needs a home"
    assert not abroad


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(relative(path)))
def test_signals_are_handled_where_processes_begin(path):
    place, text = relative(path).as_posix(), path.read_text()
    if "signal" in set(imports(text, "")):
        assert re.fullmatch(SIGNAL_HOMES, place)
    calls = (ast.unparse(node.func) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))
    if {"signal.signal", "signal.set_wakeup_fd", "signal.sigwait"} & set(calls):
        assert re.fullmatch(HANDLER_HOMES, place)


def test_the_table_has_no_cycle():
    """Command line and demo use each other's building blocks; everything else is a ladder."""
    doors = {"cli", "demo"}
    arrows = {
        room.split(".")[0]: {a.rstrip("!").split(".")[0] for a in allowed} - doors
        for room, allowed in MAY_IMPORT.items()
    }
    done: list[str] = []

    def visit(room, trail):
        assert room not in trail, f"{' → '.join((*trail, room))}"
        if room in done:
            return
        for other in arrows.get(room, set()) - {ALL}:
            visit(other, (*trail, room))
        done.append(room)

    for room in set(arrows) - doors:
        visit(room, ())


@pytest.mark.parametrize(
    ("path", "text", "found"),
    [
        ("engine/a.py", "from streamgmm.config import Config", {"config"}),
        ("engine/a.py", "def f():\n    import streamgmm.telemetry", {"telemetry"}),
        ("engine/a.py", "if TYPE_CHECKING:\n    from streamgmm.sinks.kafka import Sink", {"sinks.kafka"}),
        ("engine/a.py", "from streamgmm.refit.job import Job", set()),
        ("engine/a.py", "from .window import Window", set()),
        ("engine/a.py", "from ..sinks.kafka import build", {"sinks.kafka"}),
        ("loop.py", "from streamgmm.sources import Source", set()),
        ("loop.py", "from streamgmm.sources.memory import build", {"sources.memory"}),
        ("loop.py", "from streamgmm.sources import memory", {"sources.memory"}),
        ("sources/memory.py", "from streamgmm.bus import hook", {"bus.hook"}),
        ("sources/kafka.py", "from streamgmm.bus import hook", set()),
        ("mixture/em.py", "from streamgmm.records import as_features", {"records"}),
        ("app.py", "from streamgmm.telemetry import metrics", set()),
    ],
)
def test_the_test_can_fail(path, text, found):
    assert forbidden(Path(path), text) == found
