"""Alerts that can fire: tested by Prometheus' own tool, named as the catalogue names, explained in the runbook."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from streamgmm.config.outputs import Limits
from streamgmm.telemetry.catalogue import CATALOGUE, PREFIX

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
(GROUP,) = yaml.safe_load((PROMETHEUS / "rules" / "streamgmm.yml").read_text())["groups"]
ALERTS = {rule["alert"]: rule for rule in GROUP["rules"]}
CASES = yaml.safe_load((PROMETHEUS / "rules_test.yml").read_text())["tests"]

SELECTOR = re.compile(rf"({PREFIX}\w+)(?:\{{([^}}]*)\}})?")
MATCHER = re.compile(r'(\w+)\s*(?:=~|!=|!~|=)\s*"([^"]*)"')
# Labels that Prometheus adds to whatever it scrapes.
TARGET = {"job", "instance"}


def exposed():
    """Return every series name that a scrape can contain → label → closed set (empty: known only at run time)."""
    names = {}
    for metric in CATALOGUE:
        labels = {label.name: set(label.values) for label in metric.labels}
        names[PREFIX + metric.name] = labels
        if metric.type == "histogram":
            del names[PREFIX + metric.name]
            names |= {PREFIX + metric.name + end: labels for end in ("_sum", "_count")}
            names[PREFIX + metric.name + "_bucket"] = labels | {"le": set()}
    return names


EXPOSED = exposed()


def heading_anchor(heading):
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
ANCHORS = {heading_anchor(h) for h in re.findall(r"^#+ (.*)$", RUNBOOK, re.MULTILINE)}


def outcomes(alert):
    """Return whether each of an alert's cases expects it to fire."""
    tests = (test for case in CASES for test in case["alert_rule_test"])
    return [bool(test["exp_alerts"]) for test in tests if test["alertname"] == alert]


@pytest.mark.parametrize("alert", ALERTS)
def test_has_a_firing_and_a_silent_case(alert):
    assert set(outcomes(alert)) == {True, False}


@pytest.mark.parametrize("alert", ALERTS)
def test_says_how_bad_what_and_where_to_read_on(alert):
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"]
    url = urlsplit(rule["annotations"]["runbook_url"])
    assert (url.scheme, url.netloc, url.path) == ("https", "streamgmm.example.org", "/docs/runbook.md")
    assert url.fragment == alert.lower()
    assert url.fragment in ANCHORS


def test_the_runbook_says_how_its_links_become_real(tmp_path):
    """Pages are read on a phone: a relative link, or one to a place that is not there, leads nowhere."""
    command = shlex.split(re.search(r"```sh\n(sed .*)\n```", RUNBOOK)[1])
    rules = tmp_path / command[-1]
    rules.parent.mkdir(parents=True)
    shutil.copy(ROOT / command[-1], rules)
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    (group,) = yaml.safe_load(rules.read_text())["groups"]
    urls = [rule["annotations"]["runbook_url"] for rule in group["rules"]]
    assert urls == [f"https://wiki.example.com/streamgmm/runbook.md#{alert.lower()}" for alert in ALERTS]


def test_the_runbook_has_no_chapter_of_an_alert_that_is_gone():
    assert ANCHORS - {"runbook"} == {alert.lower() for alert in ALERTS}


def test_a_stall_is_told_before_the_daemon_restarts_for_it():
    """A restarted daemon counts from the beginning: an alert that takes longer than a deadline never fires."""
    stalled = ALERTS["StreamgmmStalledPartition"]
    seconds = int(stalled["expr"].rpartition(">")[2]) + 60 * int(stalled["for"].removesuffix("m"))
    assert seconds + 30 <= min(Limits().sink_deadline, Limits().stall_deadline), "two scrapes of 15 s must fit"


@pytest.mark.parametrize("alert", ALERTS)
def test_names_only_what_is_exposed(alert):
    for name, matchers in SELECTOR.findall(ALERTS[alert]["expr"]):
        assert name in EXPOSED
        for label, values in MATCHER.findall(matchers):
            assert label in EXPOSED[name]
            closed = EXPOSED[name][label]
            assert not closed or set(values.split("|")) <= closed


def test_the_cases_feed_series_as_they_are_exposed():
    for case in CASES:
        for series in case["input_series"]:
            for name, matchers in SELECTOR.findall(series["series"]):
                labels = dict(MATCHER.findall(matchers))
                assert set(labels) - TARGET == set(EXPOSED[name])
                assert all(not EXPOSED[name][k] or v in EXPOSED[name][k] for k, v in labels.items() if k not in TARGET)


def test_no_case_lets_series_grow_stale_between_samples():
    """Above five minutes an instant vector is empty between two samples, and then silence proves nothing."""
    assert all(case["interval"] in {"1m", "2m"} for case in CASES)


def test_the_runbook_names_only_what_is_exposed():
    known = EXPOSED.keys() | {PREFIX + m.name for m in CATALOGUE}
    assert {name for name, _ in SELECTOR.findall(RUNBOOK)} <= known


def test_prometheus_accepts_the_rules(tool):
    assert (
        f"{len(ALERTS)} rules found"
        in tool("promtool", "check", "rules", PROMETHEUS / "rules" / "streamgmm.yml").stdout
    )


def test_every_alert_fires_and_stays_silent_as_its_cases_say(tool):
    tool("promtool", "test", "rules", PROMETHEUS / "rules_test.yml")


def test_the_tool_sees_a_rule_that_was_changed(tool, tmp_path):
    """If this passed with another threshold, the cases above would prove nothing."""
    (tmp_path / "rules").mkdir()
    rules = (PROMETHEUS / "rules" / "streamgmm.yml").read_text()
    changed = rules.replace("> 180", "> 1800")
    assert changed != rules
    (tmp_path / "rules" / "streamgmm.yml").write_text(changed)
    (tmp_path / "rules_test.yml").write_text((PROMETHEUS / "rules_test.yml").read_text())
    assert tool("promtool", "test", "rules", tmp_path / "rules_test.yml", check=False).returncode == 1


def test_prometheus_accepts_its_configuration(tool):
    tool("promtool", "check", "config", PROMETHEUS / "prometheus.yml")


def test_alertmanager_accepts_its_configuration(tool):
    tool("amtool", "check-config", ROOT / "deploy" / "alertmanager" / "alertmanager.yml")


def test_inhibition_finds_its_alerts_by_labels_that_they_carry():
    """An alert that was summed up without its instance would never be inhibited, and nobody would notice."""
    (rule,) = yaml.safe_load((ROOT / "deploy" / "alertmanager" / "alertmanager.yml").read_text())["inhibit_rules"]
    assert rule["source_matchers"] == ['alertname="StreamgmmDown"']
    tests = [t for case in CASES for t in case["alert_rule_test"] if t["alertname"] != "StreamgmmDown"]
    fired = [alert["exp_labels"] for test in tests for alert in test["exp_alerts"]]
    assert len(fired) >= len(ALERTS) - 1
    assert all(set(rule["equal"]) <= set(labels) for labels in fired)


def test_prometheus_finds_no_fault_in_the_exposition(tool):
    from streamgmm.records import Report
    from streamgmm.telemetry.build import build

    telemetry, served = build(
        config={}, target_rate=0.01, topics=["t"], sinks={"s": "topic s"}, members=["single"], fields=["x"], stuck=list
    )
    telemetry.observe(Report(scored=1))
    tool("promtool", "check", "metrics", input=served["/metrics"]("").body.decode())
