"""Settings: what a site sets is what the parts get, and a wrong value is named."""

from pathlib import Path

import pytest

from datasources.gnocchi import GnocchiSettings
from migrate.duration import TimeModel
from migrate.limits import Limits
from optimizer.errors import PlacewrightError
from placewright.config import OPTIONS, database_url, gnocchi_settings, http_settings, limits, load_config, marks_settings, time_model
from policy_sources.http import HttpSettings
from policy_sources.marks import MarksSettings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "site.conf"


def test_without_a_file_the_defaults_are_those_of_the_parts() -> None:
    conf = load_config([])
    assert gnocchi_settings(conf) == GnocchiSettings()
    assert time_model(conf) == TimeModel()
    assert limits(conf) == Limits()
    assert conf.execution.plan_max_age == 86400
    assert conf.solver.threads >= 1


def test_every_option_arrives(file: Path) -> None:
    file.write_text("[gnocchi]\nresource_type = vm\ncpu_metric = c\ncpu_aggregation = rate:max\ncpu_interval = 60\nmemory_metric = m\n"
                    "memory_aggregation = max\ntimeout = 9\n"
                    "[nova]\ntimeout = 8\n[database]\nconnection = postgresql://u:p@h/d\n"
                    "[execution]\nparallel_total = 3\nparallel_per_host = 1\nparallel_out_of_host = 4\nparallel_into_host = 2\n"
                    "parallel_in_aggregate = rack-1:4,rack-2:2\npoll_interval = 0.5\naction_timeout = 60\nplan_max_age = 7\n"
                    "stall_timeout = 30\non_stall = force_complete\non_interrupt = abort\nundo_below = 50\nreplan = false\n"
                    "[time_model]\nbandwidth_mb_per_s = 100\nhost_bandwidth_mb_per_s = 250\ndirty_mb_per_core_s = 2\nconvergence = post_copy\n"
                    "live_overhead = 1\ncold_overhead = 3\nlive_per_source = 4\nlearn_hours = 2\nshared_storage = yes\n"
                    "[policy]\nsources = file:a.yaml\nsources = file:b.yaml\nopa_url = https://opa\n"
                    "vetoes = congress:a\ncongress_url = http://c\ncongress_auth = noauth\n"
                    "on_failure = last_good\nmemory = /m\nmax_age = 60\ntenant_marks = keep, cost\ntenant_weight = 2.5\nignored_flavors = big\n"
                    "opa_token_file = /t\nca_file = /c\ntimeout = 5\nattempts = 1\nmax_mb = 2\n[solver]\nthreads = 2\n")
    conf = load_config([file])
    assert gnocchi_settings(conf) == GnocchiSettings(resource_type="vm", cpu="c", cpu_aggregation="rate:max", cpu_interval_s=60, memory="m",
                                                     memory_aggregation="max", timeout_s=9)
    assert time_model(conf) == TimeModel(bandwidth_mb_per_s=100, host_bandwidth_mb_per_s=250, dirty_mb_per_core_s=2, convergence="post_copy",
                                         live_overhead_s=1, cold_overhead_s=3, shared_storage=True, live_per_source=4)
    assert limits(conf) == Limits(total=3, per_host=1, out_of_host=4, into_host=2, in_aggregate={"rack-1": 4, "rack-2": 2}, poll_interval_s=0.5,
                                  action_timeout_s=60, stall_timeout_s=30, on_stall="force_complete", on_interrupt="abort")
    assert (conf.execution.plan_max_age, conf.execution.undo_below, conf.execution.replan) == (7, 50, False)
    assert (conf.solver.threads, conf.time_model.learn_hours) == (2, 2)
    assert conf.nova.timeout == 8
    assert database_url(conf) == "postgresql://u:p@h/d"
    assert conf.policy.sources == ["file:a.yaml", "file:b.yaml"]
    assert (conf.policy.opa_url, conf.policy.opa_token_file) == ("https://opa", "/t")
    assert (conf.policy.vetoes, conf.policy.congress_url, conf.policy.congress_auth) == (["congress:a"], "http://c", "noauth")
    assert (conf.policy.on_failure, conf.policy.memory, conf.policy.max_age) == ("last_good", "/m", 60)
    assert marks_settings(conf) == MarksSettings(frozenset({"keep", "cost"}), 2.5, frozenset({"big"}))
    assert http_settings(conf) == HttpSettings(timeout_s=5, attempts=1, max_mb=2, ca_file="/c")
    written = set(file.read_text().replace("=", " ").split())
    assert all(option.name in written for options in OPTIONS.values() for option in options)


@pytest.mark.parametrize(("state", "url"), [
    ("/s", "sqlite:////s/placewright/placewright.db"), ("", "sqlite:////home/me/.local/state/placewright/placewright.db")])
def test_the_database_is_a_file_of_the_user(monkeypatch: pytest.MonkeyPatch, state: str, url: str) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", state)
    monkeypatch.setenv("HOME", "/home/me")
    assert database_url(load_config([])) == url


def test_the_later_file_wins(file: Path, tmp_path: Path) -> None:
    file.write_text("[execution]\nparallel_total = 3\nparallel_per_host = 1\n")
    later = tmp_path / "later.conf"
    later.write_text("[execution]\nparallel_total = 5\n")
    assert limits(load_config([file, later])) == Limits(total=5, per_host=1)


@pytest.mark.parametrize(("text", "said"), [
    ("[execution]\nparallel_total = many\n", ["1 fault", "[execution] parallel_total = many: invalid literal"]),
    ("[execution]\nparallel_total = 0\n[solver]\nthreads = -1\n[time_model]\ndirty_mb_per_core_s = -1\n",
     ["3 faults", "[execution] parallel_total = 0: Should be greater than or equal to 1", "[solver] threads = -1: ", "dirty_mb_per_core_s = -1: "]),
    ("[execution]\nparallel_in_aggregate = rack-1:0\n", ["parallel_in_aggregate = rack-1:0: Should be greater than or equal to 1"]),
    ("[execution]\nparallel_in_aggregate = rack-1\n", ["parallel_in_aggregate = rack-1: Value should be NAME:VALUE pairs"]),
    ("[execution]\nparallel_into_host = 0\n", ["parallel_into_host = 0: Should be greater than or equal to 1"]),
    ("[time_model]\nshared_storage = perhaps\n", ["[time_model] shared_storage = perhaps: ", "boolean"]),
    ("[gnocchi]\ncpu_interval = 0\n", ["[gnocchi] cpu_interval = 0: "]),
    ("[gnocchi]\nresource_type = $nowhere\n", ["resource_type"]),
    ("[execution]\nparalel_total = 3\n[executoin]\nx = 1\n[DEFAULT]\ndebug = true\n",
     ["3 faults", "[execution] paralel_total: there is no such option; known are action_timeout, ",
      "[executoin]: there is no such group", "[DEFAULT]"]),
    ("no section\n", ["no section"]),
    ("[execution\n", ["[execution"]),
])
def test_bad_values_are_named_all_at_once(file: Path, text: str, said: list[str]) -> None:
    file.write_text(text)
    with pytest.raises(PlacewrightError) as caught:
        load_config([file])
    assert str(caught.value).startswith(f"config file {file}: ")
    assert all(part in str(caught.value) for part in said), str(caught.value)


def test_files_that_cannot_be_read(file: Path, tmp_path: Path) -> None:
    with pytest.raises(PlacewrightError, match=f"config file {file} does not exist"):
        load_config([file])
    with pytest.raises(PlacewrightError, match="does not exist"):
        load_config([tmp_path])
    file.write_bytes(b"[execution]\nparallel_total = \xff\n")
    with pytest.raises(PlacewrightError, match=str(file)):
        load_config([file])


def test_every_option_explains_itself() -> None:
    assert all(option.help for options in OPTIONS.values() for option in options)
