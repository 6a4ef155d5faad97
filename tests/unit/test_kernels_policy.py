"""What every compiled function of the package must be, whichever room it lives in."""

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest
from numba.core.caching import NullCache
from numba.core.dispatcher import Dispatcher

import streamgmm
from streamgmm import cache_kernels

ROOT = Path(streamgmm.__file__).parent
# Sums may be reordered, but not next to these: a reordered exp or a NaN test is a different answer.
EXACT = {"exp", "expm1", "log", "log1p", "isnan", "isfinite", "isinf", "sqrt"}
FUSING, REORDERING = {"contract"}, {"contract", "reassoc", "nsz"}


def kernel_modules():
    found = pkgutil.walk_packages([str(ROOT)], "streamgmm.")
    return [importlib.import_module(module.name) for module in found if module.name.endswith("kernels")]


def dispatchers():
    """Return every compiled function at its home, by its full name."""
    return {
        f"{module.__name__}.{name}": value
        for module in kernel_modules()
        for name, value in vars(module).items()
        if isinstance(value, Dispatcher) and value.py_func.__module__ == module.__name__
    }


DISPATCHERS = dispatchers()
# A function that stays open has no explicit signature: a helper, inlined into kernels and never called from Python.
KERNELS = {name: value for name, value in DISPATCHERS.items() if not value._can_compile}
HELPERS = {name: value for name, value in DISPATCHERS.items() if value._can_compile}


def each(found):
    return pytest.mark.parametrize("dispatcher", found.values(), ids=found.keys())


def called_names(function):
    tree = ast.parse(inspect.cleandoc(inspect.getsource(function)))
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "") for call in calls}


def test_there_are_kernels():
    assert {name.split(".")[1] for name in KERNELS} >= {"mixture", "features"}


@each(DISPATCHERS)
def test_options(dispatcher):
    options = dispatcher.targetoptions
    assert options.get("nogil") is True
    assert options.get("error_model") == "numpy"
    assert not options.get("parallel")
    assert not options.get("forceobj")


@each(DISPATCHERS)
def test_fastmath_is_never_whole(dispatcher):
    fastmath = dispatcher.targetoptions.get("fastmath") or set()
    assert fastmath is not True
    if not set(fastmath) <= FUSING:
        assert set(fastmath) <= REORDERING
        assert not called_names(dispatcher.py_func) & EXACT


@each(KERNELS)
def test_kernels_are_cached(dispatcher):
    assert type(dispatcher._cache).__name__ == "FunctionCache"


@each(KERNELS)
def test_kernels_have_one_signature_and_can_get_no_other(dispatcher):
    assert len(dispatcher.signatures) == 1


def test_only_kernels_call_helpers():
    """A helper that Python calls would compile itself for whatever it is given, in the middle of the stream."""
    offenders = []
    for path in (path for path in ROOT.rglob("*.py") if not path.stem.endswith("kernels")):
        text = path.read_text()
        if "kernels" not in text:
            continue
        nodes = list(ast.walk(ast.parse(text)))
        names = {alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}
        names |= {
            node.attr
            for node in nodes
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id.endswith(("kernels", "simd"))
        }
        offenders += [f"{path.name}: {name}" for name in names & {helper.rsplit(".", 1)[1] for helper in HELPERS}]
    assert not offenders


def test_compiled_functions_live_in_kernel_files_only():
    users = [path for path in ROOT.rglob("*.py") if "import njit" in path.read_text() or "@njit" in path.read_text()]
    assert all(path.stem.endswith("kernels") for path in users)


def test_a_full_run_compiles_nothing(rng):
    """Warm-up, fits, promotions, missing values, explanations: whatever Python calls was compiled at import."""
    detector = streamgmm.StreamDetector.from_config(
        {
            "codec": {"type": "json", "fields": ["a", "b", "c"]},
            "features": [{"type": "ewma", "fields": ["a"]}, {"type": "activity", "fields": ["b"]}],
            "model": {"members": {"slow": {"n_components": 2, "refit_every": 400}}},
            "learning": {"min_records": 200},
            "detection": {"target_rate": 0.01},
        }
    )
    before = {name: tuple(value.signatures) for name, value in DISPATCHERS.items()}
    rows = rng.normal(size=(2000, 3))
    rows[::97] *= 10
    rows[::89, 1] = float("nan")
    scored = detector.process(rows)
    assert scored.is_anomaly.any()
    assert {name: tuple(value.signatures) for name, value in DISPATCHERS.items()} == before


def test_a_numba_that_keeps_its_stamp_elsewhere_compiles_without_a_cache():
    dispatcher = cache_kernels.njit(cache=True)(lambda x: x / 2)
    dispatcher._cache = object()
    cache_kernels.widen_stamp(dispatcher, "helpers")
    assert isinstance(dispatcher._cache, NullCache)
    assert dispatcher(3.0) == 1.5
