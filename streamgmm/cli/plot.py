"""Draw a snapshot: pairs of columns with the components' ellipses at 1 and 2 standard deviations.

`--input` also draws rows. `--before` and `--before-snapshot` also draw the ellipses of another snapshot, dashed. The
command needs matplotlib: pip install 'streamgmm[plot]'.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from streamgmm.cli._arguments import INPUTS, add_member, add_model

if TYPE_CHECKING:
    import argparse

MAX_COLUMNS = 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model(parser)
    add_member(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.png", help=".png, .svg or .pdf")
    parser.add_argument("--input", type=Path, metavar="FILE", help=f"rows to draw as well: {INPUTS}")
    parser.add_argument(
        "--features", type=_names, metavar="a,b,c", help=f"columns to draw (default: the first {MAX_COLUMNS})"
    )
    parser.add_argument("--before", type=Path, metavar="DIR", help="folder of a snapshot to compare with")
    parser.add_argument(
        "--before-snapshot", metavar="NAME", help="snapshot in --before (default: the newest intact one) or in --model"
    )


def run(args: argparse.Namespace) -> int:
    """Draw the snapshot and write the picture."""
    from streamgmm.cli._files import read_table
    from streamgmm.offline import history
    from streamgmm.offline.mixtures import in_columns, positions, restricted
    from streamgmm.offline.model import open_model
    from streamgmm.plots import save
    from streamgmm.plots.pairs import Layer, pair_plot

    model = open_model(args.model, args.snapshot)
    member = model.member(args.member)
    columns = model.columns_of(member)
    names = args.features or columns[:MAX_COLUMNS]
    at = positions(columns, names)
    layers = [Layer(f"snapshot {model.name}", restricted(in_columns(member), at))]
    if args.before or args.before_snapshot:
        before = open_model(args.before or args.model, args.before_snapshot)
        earlier = before.member(args.member)
        params = restricted(in_columns(earlier), positions(before.columns_of(earlier), names))
        layers.insert(0, Layer(f"before: {before.name}", params, "C1", "--"))
    X = None
    if args.input:
        table = read_table(args.input, history.named(model.fields, model.categories))
        X = member.view.encode(member.sight.of(model.derive(table.X, table.t)))[:, at]
    save(pair_plot(layers, names, X), args.output)
    left_out = len(columns) - len(names)
    print(f"{args.output}: {', '.join(names)}" + (f" ({left_out} more; choose with --features)" if left_out else ""))
    return 0


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text.split(",")))
