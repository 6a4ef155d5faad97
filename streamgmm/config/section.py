"""The base class of all sections, and the types of values: durations, sizes, topics, addresses, secrets."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError

SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
BYTES = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "kB": 10**3, "MB": 10**6, "GB": 10**9}


class Rule(NamedTuple):
    """One broken rule: the path of the key, relative to its section, and the message."""

    at: tuple[str | int, ...]
    message: str


class Section(BaseModel):
    """A mapping in the YAML file. It is immutable, and unknown keys are errors."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )

    def rules(self) -> Iterator[Rule]:
        """Yield every broken rule between the keys of this section."""
        yield from ()

    @model_validator(mode="after")
    def _hold_rules(self) -> Self:
        broken = list(self.rules())
        if broken:
            text = "; ".join(rule.message for rule in broken)
            raise PydanticCustomError("rules", "{text}", {"text": text, "broken": broken})
        return self


# The longest wait that all clocks, locks and queues accept.
MOST_SECONDS = 36_500 * 86_400


def _seconds(value: object) -> object:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?\s*", value) if isinstance(value, str) else None
    if match:
        seconds: int | float = float(match[1]) * SECONDS[match[2] or "s"]
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf:
        seconds = value
    else:
        raise ValueError("want a duration such as 500ms, 60s, 10m, 1h")
    if seconds > MOST_SECONDS:
        raise ValueError("want a duration of at most 36500d")
    return float(seconds)


def _bytes(value: object) -> object:
    match = re.fullmatch(r"\s*(\d{1,15})\s*([A-Za-z]*)\s*", value) if isinstance(value, str) else None
    if match and match[2] in BYTES:
        return int(match[1]) * BYTES[match[2]]
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError("want a number of bytes such as 1048576, 512KiB, 8MiB")


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("should be a number, not true or false")  # noqa: TRY004 - pydantic collects ValueErrors only
    return value


def _text(value: object) -> object:
    if isinstance(value, (int, float)):
        raise ValueError("should be a string; put it in quotes")  # noqa: TRY004 - pydantic collects ValueErrors only
    if isinstance(value, str) and not value.strip():
        raise ValueError("should not be empty")
    if isinstance(value, str) and not value.isprintable():
        raise ValueError("should not contain control characters")
    return value


def _path(value: object) -> object:
    if isinstance(value, Path):
        return value
    text = _text(value)
    return Path(text).expanduser() if isinstance(text, str) and text.startswith("~/") else text


def _topic(value: object) -> object:
    text = _text(value)
    if isinstance(text, str) and (not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", text) or text in {".", ".."}):
        raise ValueError("is not a Kafka topic name: up to 249 letters, digits, dots, dashes and underscores")
    return text


def _servers(value: object) -> object:
    """Take a list, or one string with commas; every entry is host:port."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)):
        raise ValueError("want host:port, or a list of them")  # noqa: TRY004 - pydantic collects ValueErrors only
    servers = [part.strip() if isinstance(part, str) else part for part in parts]
    servers = [server for server in servers if server != ""]
    if not servers:
        raise ValueError("contains no broker; want host:port")
    for server in servers:
        if not isinstance(server, str) or split_address(server) is None:
            raise ValueError("want host:port, or several, separated by commas or as a list")
    return servers


def split_address(text: str) -> tuple[str, int] | None:
    """Split host:port (an IPv6 host in brackets); None where it is not one."""
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+):(\d{1,5})", text)
    if not match or int(match[2]) > 65535:
        return None
    return match[1].strip("[]"), int(match[2])


def _secret(value: object) -> object:
    if isinstance(value, (int, float)):
        raise ValueError("should be a string; put it in quotes")  # noqa: TRY004 - pydantic collects ValueErrors only
    # A variable or a block scalar that was filled from a file ends with the line feed of the file.
    return value.removesuffix("\n").removesuffix("\r") if isinstance(value, str) else value


Seconds: TypeAlias = Annotated[
    float,
    Field(gt=0),
    BeforeValidator(_seconds, json_schema_input_type=Annotated[float, Field(gt=0)] | str),
]
Bytes: TypeAlias = Annotated[int, BeforeValidator(_bytes, json_schema_input_type=int | str)]
Int: TypeAlias = Annotated[int, BeforeValidator(_no_bool)]
Float: TypeAlias = Annotated[float, BeforeValidator(_no_bool)]
Text: TypeAlias = Annotated[str, BeforeValidator(_text)]
FilePath: TypeAlias = Annotated[Path, BeforeValidator(_path)]
Topic: TypeAlias = Annotated[str, BeforeValidator(_topic)]
Servers: TypeAlias = Annotated[
    tuple[str, ...], BeforeValidator(_servers, json_schema_input_type=str | Annotated[list[str], Field(min_length=1)])
]
Secret: TypeAlias = Annotated[SecretStr, BeforeValidator(_secret)]
Emit: TypeAlias = Literal["anomalies", "all", "incidents"]


def default_type(name: str) -> BeforeValidator:
    """Set `type` to `name` in mappings that have none."""

    def fill(value: Any) -> Any:  # noqa: ANN401 - whatever the YAML holds
        return {"type": name, **value} if isinstance(value, Mapping) and "type" not in value else value

    return BeforeValidator(fill)


def duplicates(names: Iterator[str] | tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Yield position and name of each repetition."""
    seen: set[str] = set()
    for position, name in enumerate(names):
        if name in seen:
            yield position, name
        seen.add(name)
