"""Pictures of mixtures, on files; matplotlib is an extra (`pip install 'streamgmm[plot]'`) and lives in this room."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamgmm import private
from streamgmm.errors import StopError

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches; nothing global, no window.

    Raises
    ------
    StopError
        matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra: only those who draw need it
    except ImportError:
        raise StopError("matplotlib is not installed", hint="pip install 'streamgmm[plot]'") from None
    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, path: Path) -> None:
    """Write a figure; the ending says how (png, svg, pdf).

    Raises
    ------
    StopError
        An ending that matplotlib does not know, or a place that cannot be written.
    """
    try:
        with private.replacing(path) as temporary:
            figure.savefig(temporary, dpi=150, format=path.suffix.removeprefix(".") or "png")
    except OSError as error:
        raise StopError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise StopError(f"{path}: {error}", hint="use .png, .svg or .pdf") from error
