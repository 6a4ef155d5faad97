"""From a file, a text or a mapping to a Config, or to a listing of everything that is wrong with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from streamgmm.config.document import MAX_BYTES, Document, Problem, from_mapping, from_text
from streamgmm.config.problems import listing, of_validation
from streamgmm.config.schema import Config
from streamgmm.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from os import PathLike

DAEMON = ("source", "codec", "sinks")


def load(path: str | PathLike[str], env: Mapping[str, str] | None = None, *, require: Sequence[str] = DAEMON) -> Config:
    """Read a YAML file.

    Parameters
    ----------
    path
        The file.
    env
        What `${VAR}` refers to; the process's environment where absent.
    require
        Sections that must be there: a daemon needs source, codec and sinks, a backtest none.

    Raises
    ------
    ConfigError
        Its text lists every problem with file, line, column, path, value and remedy.
    """
    return parse(_text(Path(path)), name=os.fspath(path), env=env, require=require)


def parse(
    config: str | Mapping[str, Any],
    *,
    name: str = "<config>",
    env: Mapping[str, str] | None = None,
    require: Sequence[str] = DAEMON,
) -> Config:
    """Read YAML text, or a mapping that a program made; see `load`."""
    variables = os.environ if env is None else env
    document = from_text(config, variables) if isinstance(config, str) else from_mapping(config, variables)
    parsed, problems = _validate(document, require)
    if parsed is None or problems:
        raise ConfigError(listing(name, problems, document, Config))
    return parsed


def _validate(document: Document, require: Sequence[str]) -> tuple[Config | None, list[Problem]]:
    if document.unread:
        return None, document.problems
    data = {} if document.data is None else document.data
    if not isinstance(data, dict):
        return None, [*document.problems, Problem((), "should be a mapping of sections: source, codec, sinks …")]
    document.data = data
    problems = [*document.problems, *_missing(data, require)]
    try:
        return Config.model_validate(data), problems
    except ValidationError as error:
        # A value that could not be read was reported with its cause; what follows from its absence is noise.
        known = {problem.path for problem in problems}
        new = [problem for problem in of_validation(error, document, Config) if problem.path not in known]
        return None, problems + new


def _missing(data: Mapping[str, Any], require: Sequence[str]) -> Iterator[Problem]:
    for section in require:
        if section not in data or data[section] is None:
            yield Problem((), f'the section "{section}" is required')
        elif data[section] == []:
            yield Problem((section,), "should name at least one")


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(4 * MAX_BYTES + 1).decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot read it: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}") from None
    except ValueError:
        raise ConfigError(f"{str(path)!r} is no file name") from None
