"""Draw synthetic vectors from a snapshot, in the units of the data.

The vectors have the columns of the mixture, derived columns included.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from streamgmm.cli._arguments import OUTPUTS, add_member, add_model, natural, positive

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model(parser)
    add_member(parser)
    parser.add_argument("-n", type=positive, required=True, metavar="N", help="number of vectors")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help=OUTPUTS)
    parser.add_argument(
        "--seed", type=natural, default=0, help="seed; the same seed gives the same vectors (default: 0)"
    )


def run(args: argparse.Namespace) -> int:
    """Draw vectors and write them."""
    import numpy as np

    from streamgmm.cli._files import checked_output, write_rows
    from streamgmm.offline.mixtures import sample
    from streamgmm.offline.model import open_model

    checked_output(args.output)
    model = open_model(args.model, args.snapshot)
    member = model.member(args.member)
    columns = model.columns_of(member)
    write_rows(args.output, sample(member, args.n, np.random.default_rng(args.seed)), columns)
    print(f"{args.n} vectors of {len(columns)} columns in {args.output}")
    return 0
