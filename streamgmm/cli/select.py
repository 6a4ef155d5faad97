"""Compare numbers of components and covariance types on a file: BIC, AIC and held-out log-density.

Columns are derived and scaled and fits are regularised as in the detector. One fifth of the rows is held out.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from streamgmm.cli._arguments import add_config, add_input, add_threads, natural, positive, read_config

if TYPE_CHECKING:
    from streamgmm.mixture.selection import Selection, Trial

TYPES = ("full", "tied", "diag", "spherical")
CRITERIA = ("bic", "aic", "held_out")
MAX_ROWS = 20_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_input(parser)
    add_config(parser)
    parser.add_argument(
        "--components",
        type=_sizes,
        default=range(1, 13),
        metavar="1..12",
        help="numbers of components to try: 4, 2,4,8 or 1..12 (default: 1..12)",
    )
    parser.add_argument(
        "--types",
        type=_types,
        default=TYPES[:1],
        metavar="full,diag",
        help=f"covariance types to try, of {', '.join(TYPES)} (default: full)",
    )
    parser.add_argument("--criterion", choices=CRITERIA, default="bic", help="selection criterion (default: bic)")
    parser.add_argument(
        "--max-rows",
        type=positive,
        default=MAX_ROWS,
        metavar="N",
        help="most rows to use; of more rows a sample is drawn (default: %(default)s)",
    )
    add_threads(parser, "number of threads")
    parser.add_argument(
        "--seed", type=natural, default=0, help="seed of the starts and of the held-out rows (default: 0)"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="also draw the curves")


def run(args: argparse.Namespace) -> int:
    """Print the table with the choice marked."""
    import numpy as np

    from streamgmm.cli._files import read_table
    from streamgmm.cli._progress import Progress
    from streamgmm.offline import history
    from streamgmm.plots import new_figure

    config = read_config(args.config)
    if args.plot:
        new_figure(1.0, 1.0)  # whether pictures can be drawn is known before the work
    table = read_table(args.input, history.asked(config))
    most, kinds = max(args.components), args.types
    each = most - min(args.components) + 1
    with Progress() as progress:

        def on_pass(k: int, kind: str, number: int, bound: float) -> None:
            done = (kinds.index(kind) * each + most - k) / (each * len(kinds))
            progress.show(done, f"{kind}, {k} components, pass {number}, log-likelihood {bound:.4f}")

        selection = history.select(
            config,
            table.fields,
            table.X,
            args.components,
            kinds,
            np.random.default_rng(args.seed),
            max_rows=args.max_rows,
            on_pass=on_pass,
            n_threads=args.threads,
            t=table.t,
        )
    print(text(selection, args.criterion))
    if args.plot:
        from streamgmm.plots import save
        from streamgmm.plots.curve import selection_curve

        save(selection_curve(selection, args.criterion), args.plot)
    return 0


def text(selection: Selection, criterion: str) -> str:
    """Return the table and the choice."""
    best = selection.best(criterion)
    lines = [f"  {'type':<10}{'components':>10}{'parameters':>12}{'BIC':>14}{'AIC':>14}{'held-out':>12}  converged"]
    lines += [
        f"{'*' if trial is best else ' '} {trial.covariance_type:<10}{trial.n_components:>10}{trial.n_parameters:>12}"
        f"{trial.bic:>14.1f}{trial.aic:>14.1f}{trial.held_out:>12.4f}  {'yes' if trial.converged else 'no'}"
        for trial in selection.trials
    ]
    lines.append(
        f"{criterion} chooses {best.n_components} components, {best.covariance_type} "
        f"({selection.n_fitted} rows fitted, {selection.n_held_out} held out; densities per scaled unit)"
        f"{_edge(selection, best)}"
    )
    return "\n".join(lines)


def _edge(selection: Selection, best: Trial) -> str:
    """Return a warning where the choice is the first or last number that was tried of its type."""
    sizes = [trial.n_components for trial in selection.trials if trial.covariance_type == best.covariance_type]
    if len(set(sizes)) > 1 and best.n_components == max(sizes):
        return f": the largest number that was tried; try more, such as --components 1..{2 * max(sizes)}"
    if best.n_components == min(sizes) > 1:
        return ": the smallest number that was tried; try fewer, from --components 1 on"
    return ""


def _sizes(text: str) -> list[int]:
    """Read `4`, `2,4,8`, `1..12`, or any of these joined by commas."""
    sizes: list[int] = []
    for part in text.split(","):
        first, dots, last = part.partition("..")
        try:
            sizes += range(int(first), int(last) + 1) if dots else [int(first)]
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not like 4, 2,4,8 or 1..12") from None
    if not sizes or min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} should contain numbers of at least 1, and ranges should increase")
    return sizes


def _types(text: str) -> tuple[str, ...]:
    kinds = tuple(dict.fromkeys(text.split(",")))
    for kind in kinds:
        if kind not in TYPES:
            raise argparse.ArgumentTypeError(f"{kind!r} is not one of {', '.join(TYPES)}")
    return kinds
