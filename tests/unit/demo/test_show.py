import io

import pytest

from streamgmm.demo import show
from streamgmm.demo.judge import Flag, Ledger, judge
from streamgmm.demo.scrape import Metrics

RECORD = {
    "offset": 1976,
    "timestamp": "2026-03-04T05:06:07.000Z",
    "score": 61.7,
    "severity": "critical",
    "incident": "x",
    "contributions": [{"feature": "disk_rb", "observed": 0.41, "expected": 0.031, "stddev": 0.0123}],
}


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_reason_is_a_sentence():
    assert show.reason(RECORD["contributions"][0]) == "disk_rb 0.41, expected 0.03 ± 0.01 given the others"


@pytest.mark.parametrize(
    ("stddev", "decimals"), [(12.0, 2), (0.01, 2), (0.0099, 3), (0.001, 3), (3e-5, 5), (1e-9, 6), (0.0, 6)]
)
def test_decimals_show_the_first_digit_of_the_spread(stddev, decimals):
    assert show.decimals(stddev) == decimals


def test_an_incident_is_one_line():
    assert show.incident(RECORD) == (
        "03-04 05:06  row 1976  score  62  critical  disk_rb 0.41, expected 0.03 ± 0.01 given the others"
    )


def test_on_a_terminal_a_line_goes_above_the_bar():
    screen = Terminal()
    progress = show.Progress(screen, screen, 100)
    progress.update(50, 25, "3.1")
    progress.line("an incident")
    assert screen.getvalue().split("\r\x1b[K")[-1].startswith("an incident\n█")
    progress.clear()
    assert screen.getvalue().endswith("\r\x1b[K")


def test_in_a_file_the_bar_is_a_line_each_tenth():
    out, bar = io.StringIO(), io.StringIO()
    progress = show.Progress(out, bar, 100)
    for seen in range(101):
        progress.update(100, seen, "1.0")
    progress.line("an incident")
    assert bar.getvalue().count("\n") == 10
    assert "\x1b" not in bar.getvalue() + out.getvalue()
    assert out.getvalue() == "an incident\n"


def test_long_lists_are_cut():
    assert show.some(["a", "b", "c"]) == "a, b, c"
    assert show.some(["a", "b", "c", "d", "e"]) == "a, b, c +2"


def test_the_events_say_found_or_missed_beside_the_causes(small):
    text = "\n".join(show.events(judge(small, [Flag(13, "x", ("b", "a"))]).outcomes))
    assert "6–7 (2)" in text
    assert "missed" in text
    assert "after 1 rows" not in text
    assert "after 1 row " in text
    assert text.splitlines()[-1].endswith("b, a")


def test_the_verdict_states_its_numbers(small):
    result = judge(small, [Flag(6, "x", ("a",)), Flag(9, "y", ())])
    text = "\n".join(show.verdict(result, 0.01))
    assert "1 of 2 events" in text
    assert "0.50: 1 of 2 flagged rows" in text
    assert f"{result.expected_at_random:.1f}" in text
    assert "0.1000 on labelled-normal rows" in text


def test_the_running_lines_account_for_rows_and_refits():
    metrics = Metrics(
        'streamgmm_refits_total{member="single",outcome="promoted"} 4\n'
        'streamgmm_refits_total{member="single",outcome="refused"} 1\n'
        'streamgmm_refits_refused_total{reason="shadow_density"} 1\n'
        'streamgmm_refits_refused_total{reason="deadline"} 0\n'
        'streamgmm_stage_duration_seconds_sum{stage="poll"} 99\n'
        'streamgmm_stage_duration_seconds_sum{stage="score"} 0.5\n'
    )
    text = "\n".join(show.running(Ledger(10, 10, 6, 3, 0), metrics, 40.0))
    assert "10 = 6 scored + 3 unscored + 0 rejected; lost 1; committed 10" in text
    assert "4 promoted, 1 refused (1 shadow_density)" in text
    assert "the daemon worked for 0.5 s, learning included: 20 rows a second" in text
