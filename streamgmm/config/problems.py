"""Errors for people: every problem with its place, its value, and what was probably meant.

Secrets never appear: not as values, and not in the source lines that are quoted.
"""

from __future__ import annotations

import difflib
import json
import re
from typing import TYPE_CHECKING, Any, get_args

from streamgmm.config.document import Problem
from streamgmm.config.section import Section

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from streamgmm.config.document import Document, Mark, Path

MOST_PROBLEMS = 50
MOST_CHARACTERS = 60
SOURCE_WIDTH = 120
# Known to the public contract, and not to this version.
LATER = {
    ("replicas",),
    ("http", "reload_on_change"),
}
_SECRET = re.compile(
    r"pas+w|pwd|kennwort|jaas|auth\b|pass(phrase|code)|\bpw\b|secret|token|credential|api_?key|key_password",
    re.IGNORECASE,
)
_NOT_SECRET = {
    "protocol", "ca_file", "cert_file", "key_file", "key_password_file", "check_hostname", "mechanism", "username",
    "password_file",
}  # fmt: skip
_HIDDEN = "**********"
# A value that swallowed another key for want of a blank, or in which somebody wrote user:password@host.
_SUSPECT = re.compile(r"\s\S+[:=]\S|[^\s/:]:[^\s/@]+@")
# Variables are named in messages, what they hold is not; shorter values are words that stand there anyway.
SHORTEST_BROUGHT = 4


# --- from pydantic's errors to ours


def of_validation(error: ValidationError, document: Document, root: type[Section]) -> Iterator[Problem]:
    """Yield a Problem for every error of a validation, in the order of the file where it has one."""
    for detail in error.errors(include_url=False):
        yield from _problems(detail, document, root)


def _problems(detail: ErrorDetails, document: Document, root: type[Section]) -> Iterator[Problem]:
    path = _known_path(detail["loc"], document.data)
    if detail["type"] == "too_short" and _value_at(path, document.data):
        return  # items that are wrong are reported themselves; pydantic counts them as absent
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "rules":
        for rule in context["broken"]:
            yield Problem((*path, *rule.at), rule.message)
    elif kind == "extra_forbidden":
        document.unknown.add(path)  # nobody knows what it holds
        yield Problem(path, _unknown_key(detail["loc"], path, root))
    elif kind == "missing":
        yield Problem(path, f'the key "{detail["loc"][-1]}" is required here')
    elif kind in {"literal_error", "union_tag_invalid"}:
        if kind == "union_tag_invalid":
            path = (*path, "type")
        expected = re.findall(r"'([^']*)'", str(context.get("expected", context.get("expected_tags"))))
        yield Problem(path, _choice(_value_at(path, document.data), expected) + _got(path, document))
    else:
        yield Problem(path, _sentence(detail) + _got(path, document))


def _known_path(loc: Sequence[str | int], data: Any) -> Path:  # noqa: ANN401 - a YAML value
    """Return the part of a location that is in the data: pydantic names union members along the way."""
    path: list[str | int] = []
    for part in loc:
        if part in (data if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ()):
            data = data[part]
            path.append(part)
    return tuple(path)


def _value_at(path: Path, data: Any) -> Any:  # noqa: ANN401 - a YAML value
    for part in path:
        data = data[part]
    return data


def _unknown_key(loc: Sequence[str | int], path: Path, root: type[Section]) -> str:
    if path in LATER:
        return "not available in this version"
    known = sorted({name for section in sections_at(root, loc[:-1]) for name in section.model_fields})
    near = difflib.get_close_matches(str(loc[-1]), known, 1)
    return f'unknown key; did you mean "{near[0]}"?' if near else f"unknown key; known keys: {', '.join(known)}"


def _choice(value: object, expected: list[str]) -> str:
    near = difflib.get_close_matches(str(value), expected, 1)
    return f"is not one of {', '.join(expected)}" + (f'; did you mean "{near[0]}"?' if near else "")


def _sentence(detail: ErrorDetails) -> str:
    if detail["type"] == "union_tag_not_found":
        return 'the key "type" is required here'
    if detail["type"] in {"model_type", "model_attributes_type", "dict_type"}:
        return "should be a mapping of keys"
    if detail["type"] == "too_short":
        return "should name at least one"
    if detail["type"] in {"tuple_type", "list_type"}:
        return "should be a list"
    return re.sub(r"^(Value error, |Input |Tuple |List )", "", detail["msg"])


def sections_at(root: type[Section], loc: Sequence[str | int]) -> list[type[Section]]:
    """Return the sections that a location of pydantic's may mean."""
    here = [root]
    for part in loc:
        tagged = [section for section in here if part in _tags(section)]
        if tagged and len(here) > 1:
            here = tagged
        elif isinstance(part, str):
            inner = [_sections(s.model_fields[part].annotation) for s in here if part in s.model_fields]
            here = [section for found in inner for section in found] or here
    return here


def _tags(section: type[Section]) -> tuple[Any, ...]:
    return get_args(section.model_fields["type"].annotation) if "type" in section.model_fields else ()


def _sections(annotation: Any) -> list[type[Section]]:  # noqa: ANN401 - a type expression
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for argument in get_args(annotation) for section in _sections(argument)]


# --- what may be shown


def is_secret(path: Path, unknown: Collection[Path] = ()) -> bool:
    """Return whether a value must never be shown: a secret, or what may be one under a key that is not known."""
    if any(path[: i + 1] in unknown for i in range(len(path))):
        return True
    if path[-2:] == ("schema_registry", "url"):  # where people put user:password@
        return True
    if "security" in path:
        inside = path[path.index("security") + 1 :]
        return len(inside) != 1 or inside[0] not in _NOT_SECRET
    return any(isinstance(key, str) and key not in _NOT_SECRET and _SECRET.search(key) for key in path)


def is_secret_key(path: Path, unknown: Collection[Path] = ()) -> bool:
    """Return whether even a key must not be shown: it stands inside a secret, or was glued to one by a lost blank."""
    key = str(path[-1])
    glued = (path in unknown or _SECRET.search(key) is not None) and not re.fullmatch(r"[\w.-]+", key)
    return glued or (path[-2:-1] != ("security",) and is_secret(path[:-1], unknown))


def _got(path: Path, document: Document) -> str:
    shown: object = document.written.get(path) or _value_at(path, document.data)
    if is_secret(path, document.unknown) or isinstance(shown, (dict, list)) or _is_suspect(shown):
        return ""
    text = json.dumps(shown) if shown is None or isinstance(shown, bool) else repr(shown)
    return f" (got {text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + '…'})"


def _is_suspect(value: object) -> bool:
    return isinstance(value, str) and bool(_SUSPECT.search(value) or _SECRET.search(value))


def listing(name: str, problems: Sequence[Problem], document: Document, root: type[Section]) -> str:
    """Return every problem as `file:line:column: path: message`, with its source line and a caret."""
    known = frozenset(_known_keys(root))
    placed = [(problem, problem.mark or document.mark(problem.path)) for problem in problems]
    placed.sort(key=lambda item: item[1] or (0, 0))
    entries = [_entry(name, problem, mark, document, known) for problem, mark in placed[:MOST_PROBLEMS]]
    if len(placed) > MOST_PROBLEMS:
        entries.append(f"… and {len(placed) - MOST_PROBLEMS} more")
    return "\n".join(entries).encode("utf-8", "backslashreplace").decode()


def _entry(name: str, problem: Problem, mark: Mark | None, document: Document, known: Collection[str]) -> str:
    message = problem.message
    if problem.veiled and is_secret(problem.path, document.unknown):
        message = problem.veiled
    for value, written in document.brought.items():
        message = message.replace(value, written) if len(value) >= SHORTEST_BROUGHT else message
    where = name if mark is None or not document.lines else f"{name}:{mark.line + 1}:{mark.column + 1}"
    head = ": ".join(part for part in (where, _dotted(problem.path, document.unknown), message) if part)
    if mark is None or mark.line >= len(document.lines):
        return head
    source, column = _masked(document, mark, known)
    if len(source) > SOURCE_WIDTH:
        first = max(0, column - SOURCE_WIDTH // 2)
        source, column = source[first : first + SOURCE_WIDTH], column - first
    return f"{head}\n{mark.line + 1:>6} | {_printable(source)}\n       | {' ' * column}^"


def _dotted(path: Path, unknown: Collection[Path]) -> str:
    parts = (
        f"[{part}]" if isinstance(part, int) else "." + _shown_key(path[: i + 1], unknown)
        for i, part in enumerate(path)
    )
    return "".join(parts).removeprefix(".")


def _shown_key(path: Path, unknown: Collection[Path]) -> str:
    return _HIDDEN if is_secret_key(path, unknown) else _printable(str(path[-1])[:MOST_CHARACTERS])


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def _masked(document: Document, mark: Mark, known: Collection[str]) -> tuple[str, int]:
    """Return a source line without its secrets, and where the marked column stands in it then."""
    line, column = document.lines[mark.line], mark.column
    for first, last in sorted(_secret_spans(document, mark.line), reverse=True):
        line = line[:first] + _HIDDEN + line[last:]
        column += len(_HIDDEN) - (last - first) if column >= last else 0
    # Where the text was not read to its end, nobody knows which values are secret: go by the look of the keys.
    shown = _hidden_by_key(line, _key_above(document.lines, mark.line), known) if document.unread else line
    return shown, column if shown == line else min(column, len(shown) - len(_HIDDEN))


def _secret_spans(document: Document, number: int) -> Iterator[tuple[int, int]]:
    unknown = document.unknown
    values = (
        (start, end)
        for path, start, end in document.spans
        if is_secret(path, unknown) or _is_suspect(_text_of(document, start, end))
    )
    keys = ((start, end) for path, start, end in document.keys if is_secret_key(path, unknown))
    for start, end in (*values, *keys):
        if start.line <= number <= end.line:
            first = start.column if number == start.line else 0
            last = end.column if number == end.line else len(document.lines[number])
            if last > first:
                yield first, last


def _text_of(document: Document, start: Mark, end: Mark) -> str:
    """Return what stands between two places, its lines joined by blanks as YAML does."""
    lines = document.lines[start.line : end.line + 1]
    if len(lines) == 1:
        return lines[0][start.column : end.column]
    return " ".join(
        [lines[0][start.column :], *(line.strip() for line in lines[1:-1]), lines[-1][: end.column].strip()]
    )


def _known_keys(root: type[Section], seen: set[type[Section]] | None = None) -> Iterator[str]:
    """Yield the name of every key that a section holds, wherever it is."""
    seen = set() if seen is None else seen
    if root in seen:
        return
    seen.add(root)
    for name, field in root.model_fields.items():
        yield name
        for section in _sections(field.annotation):
            yield from _known_keys(section, seen)


def _hidden_by_key(line: str, key_above: str, known: Collection[str]) -> str:
    match = _SECRET.search(line)
    if match:
        colon = line.find(":", match.end())
        return line[: colon + 1] + " " + _HIDDEN if colon >= 0 else _HIDDEN
    # In a text that is no YAML only what stands by a key that is known, and not secret, is known to be harmless.
    keys = re.findall(r"([\w.-]+)[\"']?\s*:(?=\s|$)", key_above)
    strange = _SECRET.search(key_above) or not keys or not set(keys) <= set(known) or _SUSPECT.search(line)
    return _HIDDEN if strange else line


def _key_above(lines: list[str], number: int) -> str:
    """Return the nearest line, from this one up, that holds a key."""
    return next((lines[i] for i in range(number, -1, -1) if re.search(r"[\w\"']\s*:(\s|$)", lines[i])), "")
