"""The JSON Schema of the configuration, for editors and for checks without streamgmm."""

from __future__ import annotations

from typing import Any

from streamgmm.config.loader import DAEMON
from streamgmm.config.schema import Config

REFERENCE = {"type": "string", "pattern": r"\$\{[A-Za-z_]"}
SCALARS = {"integer", "number", "boolean"}
_KEPT_OUTSIDE = ("description", "default")


def json_schema() -> dict[str, Any]:
    """Return the schema of a daemon's file; any scalar may be a `${...}` reference instead."""
    schema: dict[str, Any] = _with_references(Config.model_json_schema(mode="validation"))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "streamgmm configuration",
        "required": list(DAEMON),
    }


def _with_references(node: Any) -> Any:  # noqa: ANN401 - any part of a schema
    if isinstance(node, list):
        return [_with_references(item) for item in node]
    if not isinstance(node, dict):
        return node
    copy = {key: _part(key, value) for key, value in node.items()}
    for noise in ("title", "discriminator"):  # a discriminator is OpenAPI's; `const` says the same to everybody else
        copy.pop(noise, None)
    if copy.get("type") in SCALARS or "enum" in copy:
        return _or_reference(copy)
    return copy


def _part(key: str, value: Any) -> Any:  # noqa: ANN401 - any part of a schema
    if key in {"properties", "$defs"}:
        return {name: _with_references(schema) for name, schema in value.items()}
    return value if key in {"default", "enum"} else _with_references(value)


def _or_reference(node: dict[str, Any]) -> dict[str, Any]:
    outside = {key: node[key] for key in _KEPT_OUTSIDE if key in node}
    inside = {key: value for key, value in node.items() if key not in outside}
    return {**outside, "anyOf": [inside, REFERENCE]}
