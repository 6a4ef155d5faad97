"""What docs/configuration.md has to hold: one table for each section of the schema."""

import inspect
import re

from streamgmm.config.problems import _sections, _tags
from streamgmm.config.schema import Config

WORDS = {
    "Int": "whole number", "Float": "number", "Seconds": "duration", "Bytes": "size", "Text": "string",
    "bool": "boolean",
    "Secret": "string", "FilePath": "path", "Topic": "topic", "Servers": "host:port, or a list",
    "PathField": "strings or mapping",
    "Unwrap": "`debezium`, `telegraf`, `cloudevents`",
    "Gap": "duration or mapping", "Adopt": "duration or mapping", "FieldNames": "list of strings",
    "CalendarParts": "list of `hour`, `weekday`",
    "Committee": "`single`, or a list of members",
    "CovarianceType": "`full`, `tied`, `diag`, `spherical`", "MemberRefit": "whole number or mapping",
    "Components": "whole number or mapping",
    "Emit": "`anomalies`, `all`, `incidents`",
}  # fmt: skip


def sections():
    """Yield (heading, section): every section once, where it first appears; alternatives one after the other."""
    seen = set()

    def visit(path, annotation):
        found = _sections(annotation)
        for section in found:
            if section in seen:
                continue
            seen.add(section)
            tags = ", ".join(f"`{tag}`" for tag in _tags(section)) if len(found) > 1 else ""
            yield f"`{path}`" + (f" of type {tags}" if tags else ""), section
            for key, field in section.model_fields.items():
                yield from visit(f"{path}.{key}", field.annotation)

    yield "Sections", Config
    for name, field in Config.model_fields.items():
        yield from visit(name, field.annotation)


def rows(section):
    """Yield (key, type, default, meaning) for every key of a section."""
    for key, field in section.model_fields.items():
        assert field.description, f"{section.__name__}.{key} has no docstring"
        yield f"`{key}`", kind(section, key), default(field, kind(section, key)), " ".join(field.description.split())


def table(section):
    header = ["| key | type | default | meaning |", "|---|---|---|---|"]
    return "\n".join(header + [f"| {' | '.join(row)} |" for row in rows(section)])


def kind(section, key):
    owner = next(base for base in section.__mro__ if key in inspect.get_annotations(base))
    written = inspect.get_annotations(owner)[key]
    if written.startswith("Annotated") and "str | None" in written:
        return "host:port"
    written = written.removesuffix(" | None").removeprefix("Annotated[").partition(", Field(")[0]
    if written.startswith("Literal["):
        return ", ".join(f"`{choice}`" for choice in re.findall(r"'([^']+)'", written))
    if written.startswith("tuple["):
        inner = written.removeprefix("tuple[").removesuffix(", ...]")
        return f"list of {WORDS[inner]}s" if inner in WORDS else "list of mappings"
    return WORDS.get(written, "mapping")


def default(field, kind):
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or value in ("", (), {}) or _sections(type(value)):
        return ""
    return f"`{_written(value, kind)}`"


def _written(value, kind):
    if isinstance(value, tuple):
        return ", ".join(value)
    if kind == "boolean":
        return str(value).lower()
    if kind == "duration":
        return f"{value / 60:g}m" if value % 60 == 0 else f"{value:g}s"
    if kind == "size" and value >= 2**10:
        return f"{value >> 20}MiB" if value % 2**20 == 0 else f"{value >> 10}KiB"
    return f"{value:g}" if isinstance(value, float) else str(value)
