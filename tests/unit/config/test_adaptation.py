"""`adaptation: fast` is short in everything that is not given, and in nothing else."""

from streamgmm import assembly
from streamgmm.config import parse


def settings(**sections):
    learning = {"adaptation": "fast"} | sections.pop("learning", {})
    return assembly.engine_settings(parse({"learning": learning, **sections}, require=()), ["a", "b"])


def test_by_itself():
    s = settings()
    assert [(m.name, m.window, m.refresh_every) for m in s.members] == [("fast", 500, 50)]
    assert (s.step, s.min_records, s.adaptation) == (50, 500, "fast")


def test_what_is_given_stays():
    members = {"slow": {"window": 3000}, "fast": {"refresh_every": 300}}
    s = settings(
        learning={"step": 80, "min_records": 700},
        model={"committee": ["slow", "fast", "marginals"], "members": members},
    )
    assert [(m.window, m.refresh_every) for m in s.members] == [(3000, 80), (500, 300), (500, 80)]
    assert (s.step, s.min_records) == (80, 700)


def test_a_single_mixture():
    (short,) = settings(model={"committee": "single"}).members
    (given,) = settings(
        learning={"window": {"records": 2000}, "refresh_every": 70}, model={"committee": "single"}
    ).members
    assert (short.window, short.refresh_every, short.refit_every) == (500, 50, 2000)
    assert (given.window, given.refresh_every) == (2000, 70)


def test_others_are_as_long_as_they_say():
    s = settings(learning={"adaptation": "balanced"})
    assert [m.window for m in s.members] == [5000, 1000, 5000]
    assert (s.step, s.min_records, s.adaptation) == (100, 1000, "balanced")
