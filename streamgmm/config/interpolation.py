"""`${VAR}` in strings: replaced after parsing, one scalar at a time, so that a value cannot smuggle in YAML."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_REFERENCE = re.compile(r"\$\$|\$\{([^{}]*)(\}|\{|$)")
_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:(:-|:\?)(.*))?", re.DOTALL)


class InterpolationError(ValueError):
    """A reference that cannot be replaced."""


def expand(text: str, env: Mapping[str, str]) -> str:
    """Replace `${VAR}`, `${VAR:-default}`, `${VAR:?why}` and `$$`; any other dollar sign stands for itself.

    Raises
    ------
    InterpolationError
        The variable is not set, or the reference is malformed.
    """
    return _REFERENCE.sub(lambda match: _replace(match, env), text) if "$" in text else text


def _replace(match: re.Match[str], env: Mapping[str, str]) -> str:
    if match[0] == "$$":
        return "$"
    if match[2] == "{":
        raise InterpolationError("a default cannot hold { or another ${...}")
    reference = _NAME.fullmatch(match[1])
    if match[2] != "}" or reference is None:
        raise InterpolationError(
            "not a reference: want ${VAR}, ${VAR:-default} or ${VAR:?why}; write $$ for a dollar sign"
        )
    name, operator, rest = reference.groups()
    value = env.get(name)
    if operator == ":-":
        return value or rest
    if value is None or (operator == ":?" and not value):
        raise InterpolationError(f"the environment variable {name} is not set; {_remedy(name, operator, rest)}")
    return value


def _remedy(name: str, operator: str | None, why: str | None) -> str:
    return f"{why}" if operator and why else f"${{{name}:-default}} would give it a default"
