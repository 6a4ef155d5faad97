"""YAML text as plain values that remember where they stood.

The text is read event by event, not composed: nesting, size and number of values are bounded, anchors and tags are
refused, and a key given twice is an error. Plain scalars follow the YAML 1.2 core schema, so that 1e-3 is a number and
`no` is a word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeAlias

import yaml
from yaml.reader import ReaderError

from streamgmm.config.interpolation import InterpolationError, expand

if TYPE_CHECKING:
    from collections.abc import Mapping

Path: TypeAlias = "tuple[str | int, ...]"

MAX_BYTES = 1 << 18
MAX_DEPTH = 24
MAX_VALUES = 50_000
_LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_NULL = {"", "~", "null", "Null", "NULL"}
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9][0-9_]{0,40}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]{1,300}(\.[0-9]*)?)([eE][-+]?[0-9]{1,5})?")
_SPECIAL = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}


class Mark(NamedTuple):
    """Line and column, from 0."""

    line: int
    column: int


NO_REFERENCE = "holds a ${...} that is not set; write $$ for a dollar sign, or give the secret in a file"


class Problem(NamedTuple):
    """One thing that is wrong, and where."""

    path: Path
    message: str
    mark: Mark | None = None
    veiled: str = ""
    """What to say instead where the path is that of a secret: the message quotes it."""


@dataclass(slots=True)
class Document:
    """Values, where they stand, and what was wrong with reading them.

    Attributes
    ----------
    lines
        The source text; empty for a mapping that was handed over.
    marks
        Where each path stands: its key in a mapping, its value in a sequence.
    spans, keys
        Start and end of every scalar value and of every key, with its path.
    written
        The text before `${...}` was replaced, where it was.
    unread
        Whether reading stopped before the end.
    """

    data: Any = None
    lines: list[str] = field(default_factory=list)
    marks: dict[Path, Mark] = field(default_factory=dict)
    spans: list[tuple[Path, Mark, Mark]] = field(default_factory=list)
    keys: list[tuple[Path, Mark, Mark]] = field(default_factory=list)
    written: dict[Path, str] = field(default_factory=dict)
    brought: dict[str, str] = field(default_factory=dict)
    unknown: set[Path] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)
    unread: bool = False

    def mark(self, path: Path) -> Mark | None:
        """Return where a path stands, or the nearest level above it that is there."""
        while path and path not in self.marks:
            path = path[:-1]
        return self.marks.get(path)

    def scalar(self, path: Path, text: str, env: Mapping[str, str], *, plain: bool) -> Any:  # noqa: ANN401 - a YAML value
        """Return the value of a scalar; what `${...}` brings stays text, and the schema decides what it may be."""
        try:
            expanded = expand(text, env)
        except InterpolationError as error:
            self.written[path] = text
            whole = text.startswith("${") and text.endswith("}")  # what is in the middle may be part of a password
            self.problems.append(Problem(path, str(error), veiled="" if whole else NO_REFERENCE))
            return None
        if "$" in text:
            self.written[path] = text
            self.brought[expanded] = text
            return None if plain and expanded in _NULL else expanded
        return resolve(text) if plain else text


def resolve(text: str) -> str | float | bool | None:
    """Return the value of a plain scalar by the YAML 1.2 core schema."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        return int(text.rstrip("_"))
    if _FLOAT.fullmatch(text) or text.lower() in _SPECIAL:
        return float(_SPECIAL.get(text.lower(), text))
    return text


@dataclass(slots=True)
class _Frame:
    """A collection that is still open."""

    path: Path
    value: Any
    key: str | None = None
    keys: set[str] = field(default_factory=set)
    ignored: bool = False

    def next_path(self) -> Path:
        return (*self.path, self.key if isinstance(self.value, dict) else len(self.value))  # type: ignore[arg-type]  # a key is there

    def add(self, value: Any) -> None:  # noqa: ANN401 - a YAML value
        if isinstance(self.value, list):
            self.value.append(value)
        elif self.key is not None:
            if not self.ignored:
                self.value[self.key] = value
            self.key, self.ignored = None, False


class _Reader:
    """Builds a Document out of YAML events."""

    def __init__(self, text: str, env: Mapping[str, str]) -> None:
        self.document = Document(lines=_LINE_BREAK.split(text))
        self._env = env
        self._stack: list[_Frame] = []
        self._values = 0

    def read(self, text: str) -> Document:
        try:
            for event in yaml.parse(text, Loader=yaml.SafeLoader):
                self._take(event)
        except yaml.MarkedYAMLError as error:
            unclosed = "end of stream" in str(error.problem)  # what was opened, and not the end of the file
            at = (unclosed and error.context_mark) or error.problem_mark
            reference = at is not None and at.line < len(self.document.lines) and "${" in self.document.lines[at.line]
            self._stop(_sentence(error) + ("; quote ${...} inside { } and [ ]" if reference else ""), at)
        except ReaderError as error:
            before = _LINE_BREAK.split(text[: error.position])
            self._stop("not valid YAML: a character that is not allowed", Mark(len(before) - 1, len(before[-1])))
        except (ValueError, OverflowError):
            # PyYAML hands an escape beyond Unicode to chr().
            self._stop("not valid YAML: an escape sequence that is no character", None)
        except _StopReading:
            pass
        return self.document

    def _stop(self, message: str, mark: yaml.Mark | Mark | None) -> None:
        self.document.problems.append(Problem((), message, None if mark is None else Mark(mark.line, mark.column)))
        self.document.unread = True

    def _take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.DocumentStartEvent) and self._values:
            self._refuse(event, "only one YAML document is read here")
        if isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self._close(self._stack.pop().value)
        elif isinstance(event, yaml.NodeEvent):
            self._guard(event)
            self._node(event)

    def _guard(self, event: yaml.NodeEvent) -> None:
        self._values += 1
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            self._refuse(
                event, "anchors and aliases are not read here; write the value out, or use ${VAR}; quote a & or *"
            )
        if getattr(event, "tag", None) not in {None, "!"}:
            self._refuse(event, "tags are not read here; quote a value that begins with !")
        if len(self._stack) > MAX_DEPTH:
            self._refuse(event, f"nested deeper than {MAX_DEPTH} levels")
        if self._values > MAX_VALUES:
            self._refuse(event, f"more than {MAX_VALUES} values")

    def _refuse(self, event: yaml.Event, message: str) -> NoReturn:
        self._stop(message, _marks(event)[0])
        raise _StopReading

    def _node(self, event: yaml.NodeEvent) -> None:
        frame = self._stack[-1] if self._stack else None
        if frame is not None and isinstance(frame.value, dict) and frame.key is None:
            self._key(frame, event)
            return
        path = () if frame is None else frame.next_path()
        start, end = _marks(event)
        self.document.marks.setdefault(path, start)
        if isinstance(event, yaml.ScalarEvent):
            self.document.spans.append((path, start, end))
            self._close(self.document.scalar(path, event.value, self._env, plain=event.implicit[0]))
        else:
            self._stack.append(_Frame(path, {} if isinstance(event, yaml.MappingStartEvent) else []))

    def _key(self, frame: _Frame, event: yaml.NodeEvent) -> None:
        if not isinstance(event, yaml.ScalarEvent):
            self._refuse(event, "a key must be a word")
        frame.key = key = event.value
        start, end = _marks(event)
        self.document.keys.append(((*frame.path, key), start, end))
        if key == "<<" and event.implicit[0]:
            self._refuse(event, "merge keys are not read here; write the values out")
        if key in frame.keys:
            frame.ignored = True
            self.document.problems.append(Problem((*frame.path, key), "the key is given twice", start))
            return
        frame.keys.add(key)
        self.document.marks[(*frame.path, key)] = start

    def _close(self, value: Any) -> None:  # noqa: ANN401 - a YAML value
        if self._stack:
            self._stack[-1].add(value)
        else:
            self.document.data = value


class _StopReading(Exception):  # noqa: N818 - a signal between two methods, never seen outside
    pass


def _sentence(error: yaml.MarkedYAMLError) -> str:
    # An unquoted secret may begin with an exclamation mark, and this message would quote it.
    problem = re.sub(r"(undefined tag handle) .*", r"\1", str(error.problem))
    return f"not valid YAML: {problem}" + (f" ({error.context})" if error.context else "")


def _marks(event: yaml.Event) -> tuple[Mark, Mark]:
    start, end = event.start_mark, event.end_mark
    if start is None or end is None:  # only events that a program made have none
        return Mark(0, 0), Mark(0, 0)
    return Mark(start.line, start.column), Mark(end.line, end.column)


def from_text(text: str, env: Mapping[str, str]) -> Document:
    """Read YAML text; whatever is wrong with it is in `problems`, and nothing is raised."""
    if len(text) > MAX_BYTES:
        return Document(problems=[Problem((), f"the text is longer than {MAX_BYTES >> 10} KiB")])
    return _Reader(text, env).read(text)


def from_mapping(mapping: Mapping[str, Any], env: Mapping[str, str]) -> Document:
    """Take values that a program made; strings are interpolated as in a file."""
    document = Document()
    document.data = _copy(mapping, (), document, env)
    return document


def _copy(value: Any, path: Path, document: Document, env: Mapping[str, str]) -> Any:  # noqa: ANN401 - any value
    if len(path) > MAX_DEPTH:
        document.problems.append(Problem(path[:1], f"nested deeper than {MAX_DEPTH} levels"))
        return None
    if isinstance(value, str):
        return document.scalar(path, value, env, plain=False)
    if isinstance(value, dict):
        return {str(key): _copy(item, (*path, str(key)), document, env) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_copy(item, (*path, i), document, env) for i, item in enumerate(value)]
    return value
