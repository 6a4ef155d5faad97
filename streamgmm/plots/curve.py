"""The table of a selection as curves: BIC and AIC, and the held-out log-density, over the number of components."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamgmm.plots import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from streamgmm.mixture.selection import Selection

LABELS = {"bic": "BIC", "aic": "AIC"}
STYLES = {"bic": "-", "aic": "--", "held_out": "-"}


def selection_curve(selection: Selection, criterion: str) -> Figure:
    """Draw a selection; the choice of the criterion is marked."""
    figure = new_figure(9.0, 4.0)
    left, right = figure.subplots(1, 2)
    _curves(left, selection, ("bic", "aic"), criterion)
    left.set_ylabel("BIC and AIC (lower is better)")
    _curves(right, selection, ("held_out",), criterion)
    right.set_ylabel("held-out nats per row (higher is better)")
    return figure


def _curves(axes: Axes, selection: Selection, criteria: tuple[str, ...], marked: str) -> None:
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - an extra: only those who draw need it

    kinds = list(dict.fromkeys(trial.covariance_type for trial in selection.trials))
    for i, kind in enumerate(kinds):
        trials = [trial for trial in selection.trials if trial.covariance_type == kind]
        sizes = [trial.n_components for trial in trials]
        for name in criteria:
            values = [getattr(trial, name) for trial in trials]
            label = f"{kind}, {LABELS[name]}" if name in LABELS else kind
            axes.plot(sizes, values, STYLES[name], marker=".", color=f"C{i}", label=label)
    if marked in criteria:
        best = selection.best(marked)
        label = f"choice: {best.n_components} × {best.covariance_type}"
        axes.plot([best.n_components], [getattr(best, marked)], "o", ms=12, mfc="none", mec="black", label=label)
    axes.set_xlabel("components")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize="small")
