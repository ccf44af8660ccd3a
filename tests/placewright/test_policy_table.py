"""Sources of rules by name, and what the settings do to them."""

import os
from pathlib import Path

import pytest

from optimizer.cluster import Cluster
from optimizer.errors import PlacewrightError
from placewright.config import load_config
from placewright.policy_table import POLICY_SOURCES, policy_sources
from policy_sources.base import PolicyError
from tests.support.clusters import make_cluster, make_host, make_server

CLUSTER: Cluster = make_cluster([make_host("a")], [make_server("s", "a")])


@pytest.mark.parametrize(("name", "said"), [
    ("", "policy : there is no such source of rules; there are congress:POLICY, file:RULES.yaml, "),
    ("yaml:x", "policy yaml:x: there is no such source"),
    ("file", "policy file: is not complete or too long; it is written file:RULES.yaml"), ("file:", "it is written file:RULES.yaml"),
    ("marks:x", "policy marks:x: is not complete or too long; it is written marks"), ("opa:rules", "'rules' is no path of a rule"),
])
def test_what_is_no_source(name: str, said: str) -> None:
    with pytest.raises(PlacewrightError) as caught:
        policy_sources([name], load_config([]), None, True)
    assert said in str(caught.value)


def test_each_once_and_in_order() -> None:
    found = policy_sources(["marks", "file:b.yaml", "file:a.yaml", "marks"], load_config([]), None, True)
    assert [source.name for source in found] == ["marks", "file:b.yaml", "file:a.yaml"]


def test_last_good_rules_stand_in(tmp_path: Path) -> None:
    rules, conf = tmp_path / "rules.yaml", tmp_path / "site.conf"
    rules.write_text("version: 1\nrules: [{rule: keep, servers: {name: s}}]\n")
    conf.write_text(f"[policy]\non_failure = last_good\nmemory = {tmp_path / 'memory'}\n")
    (source,) = policy_sources([f"file:{rules}"], load_config([conf]), None, True)
    fresh = source.read(CLUSTER)
    rules.write_text("version: 1\nrules: [{rule: kep}]\n")
    old = source.read(CLUSTER)
    assert old.rules == fresh.rules
    assert fresh.age_s == 0 < old.age_s
    assert "kep" in old.notes[0]
    assert os.stat(tmp_path / "memory").st_mode & 0o077 == 0
    (strict,) = policy_sources([f"file:{rules}"], load_config([conf]), None, False)
    with pytest.raises(PolicyError, match="kep"):
        strict.read(CLUSTER)


def test_last_good_rules_need_a_folder(tmp_path: Path) -> None:
    conf = tmp_path / "site.conf"
    conf.write_text("[policy]\non_failure = last_good\n")
    with pytest.raises(PlacewrightError, match="on_failure is last_good, and memory names no folder"):
        policy_sources(["marks"], load_config([conf]), None, True)


def test_a_name_of_each_kind() -> None:
    for kind, source in POLICY_SOURCES.items():
        assert source.usage.partition(":")[0] == kind
