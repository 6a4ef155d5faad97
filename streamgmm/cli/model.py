"""List, show, compare, verify and revert snapshots; export and import mixtures as plain arrays.

An export contains weights_, means_, covariances_, precisions_cholesky_, covariance_type and fields, in the units of the
columns. An import reads the same arrays; the last three are optional.
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from streamgmm.cli._arguments import add_config, add_member, add_snapshot, read_config

if TYPE_CHECKING:
    from collections.abc import Callable

ACTIONS = {
    "list": "list the snapshots of a folder, oldest first",
    "show": "show the contents of one snapshot",
    "diff": "compare two snapshots: moved, new and removed components, in the units of the columns",
    "verify": "read all snapshots and print which are damaged",
    "revert": "write a snapshot with the model of an earlier one and the newest window, calibration and offsets",
    "export": "write a mixture as .npz, in the units of the columns",
    "import": "write a snapshot with a mixture from an .npz",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their options."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    ones = {name: actions.add_parser(name, help=text, description=f"{text}.") for name, text in ACTIONS.items()}
    for one in ones.values():
        one.add_argument("dir", type=Path, metavar="DIR", help="folder of snapshots")
    for name in ("show", "export"):
        add_snapshot(ones[name])
        add_member(ones[name])
    for name, meaning in (("before", "the earlier snapshot"), ("after", "the later snapshot")):
        ones["diff"].add_argument(name, metavar=name.upper(), help=meaning)
    add_member(ones["diff"])
    ones["revert"].add_argument(
        "version", metavar="VERSION", help="name of a snapshot or version of its model, see `list`"
    )
    ones["export"].add_argument("--output", type=Path, required=True, metavar="FILE.npz", help="file to write")
    ones["import"].add_argument("--arrays", type=Path, required=True, metavar="FILE.npz", help="file with the mixture")
    ones["import"].add_argument(
        "--input", type=Path, metavar="FILE", help="rows for calibration and window; the mixture was not fitted to them"
    )
    add_config(ones["import"])
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "\n".join(one.format_usage().rstrip() for one in ones.values())


def run(args: argparse.Namespace) -> int:
    """Run one action."""
    return _RUNS[args.action](args)


def _list(args: argparse.Namespace) -> int:
    from streamgmm.errors import SnapshotError
    from streamgmm.offline.model import existing
    from streamgmm.snapshots import understood

    store = existing(args.dir)
    with store.reading():
        current = store.current()
        print(f"  {'snapshot':<20}{'model':<12}{'rows seen':>12}  written")
        for name in store.names():
            try:
                manifest = store.manifest(name)
                with understood(name):
                    version, rows = manifest["model_version"] or "none yet", manifest["engine"]["rows_seen"]
                    parent = f"  from {manifest['parent']['snapshot']}" if "parent" in manifest else ""
                    told = f"{version:<12}{rows:>12}  {manifest['created']}{parent}"
            except SnapshotError as error:
                told = str(error)
            print(f"{'*' if name == current else ' '} {name:<20}{told}")
    return 0


def _show(args: argparse.Namespace) -> int:
    import numpy as np

    from streamgmm.mixture.marginals import Marginals
    from streamgmm.offline.mixtures import in_columns
    from streamgmm.offline.model import open_model

    model = open_model(args.dir, args.snapshot)
    member = model.member(args.member)
    params, columns = in_columns(member), model.columns_of(member)
    print(f"snapshot {model.name}, written {model.created}")
    print(f"model {model.detector.version}, members: {', '.join(m.name for m in model.detector.members)}")
    print(f"window {len(model.window)} rows, calibration {len(model.calibration.recent)} scores")
    print(f"fields {', '.join(model.fields)}")
    shape = getattr(params, "covariance_type", "each column separately")
    print(f"member {member.name}: {params.n_components} components, {shape}")
    if not member.sight.weight:
        print("its weight is 0: the order of the rows it was fitted to carries no information")
    width = max(10, *(len(name) for name in columns)) + 2
    cell_width = 32 if isinstance(params, Marginals) else 24
    heads = "".join(f"{f'#{k}':>{cell_width}}" for k in range(params.n_components))
    print(f"\n  {'':<{width}}{heads}")
    if isinstance(params, Marginals):
        for j, name in enumerate(columns):
            cells = (
                f"{w:.2f} × {m:.5g} ± {s:.3g}"
                for w, m, s in zip(params.weights[j], params.means[j], np.sqrt(params.variances[j]), strict=True)
            )
            print(f"  {name:<{width}}" + "".join(f"{cell:>32}" for cell in cells))
        return 0
    print(f"  {'weight':<{width}}" + "".join(f"{weight:>20.4f}" for weight in params.weights))
    stddevs = np.sqrt(np.einsum("kii->ki", params.full_covariances()))
    for j, name in enumerate(columns):
        cells = (f"{m:.5g} ± {s:.3g}" for m, s in zip(params.means[:, j], stddevs[:, j], strict=True))
        print(f"  {name:<{width}}" + "".join(f"{cell:>24}" for cell in cells))
    return 0


def _diff(args: argparse.Namespace) -> int:
    from streamgmm.errors import StopError
    from streamgmm.offline.compare import compare
    from streamgmm.offline.model import open_model

    before, after = (open_model(args.dir, name) for name in (args.before, args.after))
    if before.columns != after.columns:
        raise StopError(
            "the snapshots have different columns", hint=f"{', '.join(before.columns)} and {', '.join(after.columns)}"
        )
    member = before.member(args.member).name
    change = compare(before.member(member), after.member(member))
    print(f"snapshot {before.name}, model {before.detector.version} -> {after.name}, model {after.detector.version}")
    if change is None:
        raise StopError(f"member {member} is not a mixture of all columns", hint="choose another with --member")
    shapes = [f"{p.n_components} components, {p.covariance_type}" for p in (change.before, change.after)]
    print(f"member {member}: " + (" -> ".join(shapes) if shapes[0] != shapes[1] else shapes[0]))
    width = max(len(name) for name in before.columns) + 2
    for pair, (i, j) in enumerate(change.pairs):
        print(f"\n#{i} -> #{j}: weight {change.before.weights[i]:.4f} -> {change.after.weights[j]:.4f}")
        for column, name in enumerate(before.columns):
            means = f"{change.before.means[i, column]:.5g} -> {change.after.means[j, column]:.5g}"
            moved, spread = change.shift[pair, column], change.spread[pair, column]
            print(f"  {name:<{width}}{means:<28}{moved:+8.2f} standard deviations, spread × {spread:.2f}")
    for word, components, params in (("gone", change.gone, change.before), ("new", change.new, change.after)):
        for k in components:
            print(f"\n{word}: #{k}, weight {params.weights[k]:.4f}")
            for name, mean in zip(before.columns, params.means[k], strict=True):
                print(f"  {name:<{width}}{mean:.5g}")
    return 0


def _verify(args: argparse.Namespace) -> int:
    from streamgmm.errors import SnapshotError
    from streamgmm.offline.model import existing

    store, damaged = existing(args.dir), 0
    with store.reading():
        for name in store.names():
            try:
                store.verify(name)
            except SnapshotError as error:
                damaged += 1
                print(f"{name}  {error}")
            else:
                print(f"{name}  intact")
    return 1 if damaged else 0


def _revert(args: argparse.Namespace) -> int:
    from streamgmm.offline.revert import revert

    name, version = revert(args.dir, args.version, datetime.now(UTC).isoformat())
    print(f"{args.dir}: snapshot {name}, model {version}, from {args.version}")
    return 0


def _export(args: argparse.Namespace) -> int:
    from streamgmm.cli._files import checked_output, write_columns
    from streamgmm.errors import StopError
    from streamgmm.offline.mixtures import to_export
    from streamgmm.offline.model import open_model

    if checked_output(args.output).suffix != ".npz":
        raise StopError(f"{args.output}: a model is exported as .npz")
    model = open_model(args.dir, args.snapshot)
    member = model.member(args.member)
    arrays = to_export(member, model.columns_of(member))
    write_columns(args.output, arrays)
    shape = arrays.get("covariance_type", "each column by itself")
    K = len(arrays["weights_"]) if "weights_" in arrays else arrays["marginal_weights"].shape[1]
    print(f"{args.output}: {K} components of {len(arrays['fields'])} columns, {shape}, from snapshot {model.name}")
    return 0


def _import(args: argparse.Namespace) -> int:
    from streamgmm.cli._files import read_table
    from streamgmm.offline import history
    from streamgmm.offline.mixtures import read_export
    from streamgmm.offline.model import new_store

    config = read_config(args.config)
    params, fields = read_export(args.arrays)
    asked = history.asked(config) or history.named(fields)
    fields = tuple(one.name for one in asked.fields)
    X, t = None, None
    if args.input:
        table = read_table(args.input, asked)
        X, t = table.X, table.t
    fitted = history.adopt(config, params, fields, X, t)
    store = new_store(args.dir)
    with store.lock():
        name = store.save(fitted.snapshot(datetime.now(UTC).isoformat()))
    print(f"{store.directory}: snapshot {name}, {params.n_components} components, {params.covariance_type}")
    if X is None:
        print("not calibrated: p-values are 1 until rows have been scored; --input calibrates it", file=sys.stderr)
    return 0


_RUNS: dict[str, Callable[[argparse.Namespace], int]] = {
    "list": _list,
    "show": _show,
    "diff": _diff,
    "verify": _verify,
    "revert": _revert,
    "export": _export,
    "import": _import,
}
