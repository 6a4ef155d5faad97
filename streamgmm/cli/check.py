"""Check a configuration and print all errors with line, column and remedy."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from streamgmm.config import Config
    from streamgmm.config.learning import ComponentsRange

OK, FAILED, TRY_LATER = 0, 1, 75
WIDE = 100  # columns; with fewer, the first fit takes seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("-c", "--config", type=Path, help="YAML file")
    what.add_argument("--schema", action="store_true", help="print the JSON Schema of the configuration")
    parser.add_argument(
        "--online",
        action="store_true",
        help="also check brokers, topics, rights, files and folders, and print the first decoded vectors",
    )


def run(args: argparse.Namespace) -> int:
    """Print a summary of the configuration, or all errors (exit code 78)."""
    if args.schema:
        from streamgmm.config.export import json_schema

        print(json.dumps(json_schema(), indent=2))
        return OK
    from streamgmm.config import load

    config = load(args.config)
    print(f"{args.config}: ok")
    for name, text in summary(config):
        print(f"  {name:<17}{text}")
    if config.codec is not None and len(config.codec.names) >= WIDE:
        from streamgmm.probe import too_wide

        if warning := too_wide(config):
            print(f"{args.config}: {warning}", file=sys.stderr)
    for key, path in absent_files(config):
        print(f"{args.config}: {key}: there is no file {path} here", file=sys.stderr)
    return _online(config) if args.online else OK


def _online(config: Config) -> int:
    from streamgmm.probe import findings

    failed = []
    for finding in findings(config):
        print(f"{'ok' if finding.ok else 'FAILED':<7} {finding.what}: {finding.detail}", flush=True)
        failed += [] if finding.ok else [finding]
    if not failed:
        return OK
    return TRY_LATER if all(finding.away for finding in failed) else FAILED


def _size(n_components: int | ComponentsRange) -> str:
    if isinstance(n_components, int):
        return str(n_components)
    return f"{n_components.min} to {n_components.max} (chosen by {n_components.choose_by})"


def summary(config: Config) -> Iterator[tuple[str, str]]:
    """Yield name and text of each line of the summary."""
    source, codec, detection = config.source, config.codec, config.detection
    if source is not None:
        yield "source", _place(source)
    if codec is not None:
        columns = codec.names
        for feature in config.features:
            columns = feature.output_names(columns)
        yield "codec", f"{codec.type}, {len(codec.names)} fields, {len(columns)} columns: {_shortened(columns)}"
    for name, member in config.committee.items():
        shape = getattr(member, "covariance_type", "each column separately")
        size = _size(config.model.n_components) if name == "single" else member.n_components
        yield f"model {name}", f"{size} components, {shape}, window {member.window} rows"
    yield "learning", f"first fit after {config.min_records} rows"
    rows = detection.buffer_rows(config.limits.calibration_rows)
    yield "detection", f"target rate {detection.target_rate:g} ({detection.level}), ranked among {rows} scores"
    for sink in config.sinks:
        yield "sink", f"{_place(sink)}, {sink.emit}"
    yield "dead letters", ", ".join(config.dead_letter_topics()) or str(getattr(config.dead_letters, "path", "a file"))
    yield "state", str(config.state.dir)
    yield "http", config.http.listen or "off"


def _place(section: object) -> str:
    """Return the topics or the file of a source or sink."""
    topics: tuple[str, ...] = getattr(section, "all_topics", None) or (getattr(section, "topic", ""),)
    if not topics[0]:
        return f"file {getattr(section, 'path', '')}"
    servers = getattr(section, "bootstrap_servers", None)
    return f"kafka {', '.join(topics)}" + (f" at {', '.join(servers)}" if servers else "")


def _shortened(names: tuple[str, ...], most: int = 8) -> str:
    return ", ".join(names[:most]) + (" …" if len(names) > most else "")


def absent_files(config: Config) -> Iterator[tuple[str, Path]]:
    """Yield key and path of configured files that do not exist here. This is no error: the daemon's host may differ."""
    sections: dict[str, object] = {"source": config.source, "dead_letters": config.dead_letters}
    sections |= {f"sinks[{i}]": sink for i, sink in enumerate(config.sinks)}
    places: dict[str, object] = {
        f"{key}.security": getattr(section, "security", None) for key, section in sections.items()
    }
    places |= {"codec": config.codec, "codec.schema_registry": getattr(config.codec, "schema_registry", None)}
    for key, place in places.items():
        for name in getattr(type(place), "model_fields", {}):
            path = getattr(place, name)
            if name.endswith("_file") and path is not None and not path.exists():
                yield f"{key}.{name}", path
