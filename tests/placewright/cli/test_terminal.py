"""What surrounds the program: pipes that close, Ctrl-C, names that would steer a terminal, log files."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from optimizer.snapshot import DocumentError
from placewright.cli.common import plain
from tests.placewright.cli.conftest import Edit, Run

PROGRAM = [sys.executable, "-m", "placewright"]
NASTY = "\x1b]0;owned\x07\x9b31m\u202e\r\nname"


@pytest.mark.parametrize(("text", "shown"), [
    ("web-1", "web-1"), ("日本語 ü", "日本語 ü"), ("\x1b[31m", "\\x1b[31m"), ("a\nb", "a\\nb"), ("\u202etxt", "\\u202etxt"), ("\x9b", "\\x9b"),
])
def test_plain(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_names_do_not_steer_the_terminal(run: Run, edited: Edit, tmp_path: Path) -> None:
    path = edited(lambda cluster: replace(cluster, name=NASTY, servers=tuple(replace(one, name=NASTY + one.name) for one in cluster.servers)))
    plan = tmp_path / "nasty.json"
    audit = run("audit", "run", "host_maintenance", "--snapshot", path, "--param", "maintenance_node=a", "--out", plan)
    for ended in (audit, run("cluster", "show", "--snapshot", path), run("plan", "apply", plan, "--simulate", path, "--yes")):
        assert ended.code == 0
        assert not set(ended.out + ended.err) & set("\x1b\x07\x9b\u202e\r")
    assert run("plan", "show", plan, "-f", "json").rows[1]["What"].startswith(NASTY)


def test_stderr_that_goes_away_stops_nothing(snapshot: Path, plan: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    program = subprocess.Popen([*PROGRAM, "plan", "apply", str(plan), "--simulate", str(snapshot), "--yes", "--report", str(report), "-f", "json"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert program.stderr is not None
    assert program.stdout is not None
    program.stderr.close()
    rows = json.loads(program.stdout.read())
    program.stdout.close()
    assert program.wait(60) == 0
    assert len(rows) == 6
    assert json.loads(report.read_text())["exit_code"] == 0


def test_stdout_that_is_closed_or_full(plan: Path) -> None:
    show = [*PROGRAM, "plan", "show", str(plan)]
    assert subprocess.run(["sh", "-c", '"$@" >&-', "sh", *show], check=False, capture_output=True).returncode == 0
    full = subprocess.run(["sh", "-c", '"$@" >/dev/full', "sh", *show], check=False, capture_output=True, text=True)
    assert full.returncode == 1
    assert "No space left" in full.stderr
    assert "internal error" not in full.stderr


def test_an_encoding_without_the_character(edited: Edit) -> None:
    path = edited(lambda cluster: replace(cluster, hosts=tuple(replace(one, zone="日本") for one in cluster.hosts)))
    ended = subprocess.run([*PROGRAM, "cluster", "show", "--snapshot", str(path)], check=False, capture_output=True, text=True,
                           env={"PYTHONIOENCODING": "ascii", "PATH": ""})
    assert (ended.returncode, "\\u65e5" in ended.stdout) == (0, True)


@pytest.mark.parametrize("after_s", [3, 6])
def test_ctrl_c_ends_an_audit_at_once(tmp_path: Path, after_s: float) -> None:
    out = tmp_path / "plan.json"
    data = Path(__file__).parents[3] / "benchmarks/data/vmr2l/medium.json.xz"
    program = subprocess.Popen([*PROGRAM, "audit", "run", "vm_workload_consolidation", "--snapshot", str(data), "--param", "missing_load=flavor",
                                "--param", "max_cpu_percent=100", "--time-limit", "60", "--out", str(out)], stderr=subprocess.PIPE, text=True)
    time.sleep(after_s)  # the search runs; an earlier moment would do as well
    pressed = time.monotonic()
    program.send_signal(signal.SIGINT)
    _, said = program.communicate(timeout=30)
    assert time.monotonic() - pressed < 5
    assert (program.returncode, "Traceback" in said, out.exists()) == (130, False, False)


def _heeds_ctrl_c() -> None:
    """Also where the tests run in the background, from where a shell has programs ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("times", "settings", "ended"), [
    (1, "", "SUCCEEDED"), (2, "", "ONGOING"), (1, "[execution]\non_interrupt = abort\n", "FAILED"),
])
def test_plan_apply_is_interrupted(snapshot: Path, plan: Path, tmp_path: Path, sent: signal.Signals, times: int, settings: str, ended: str) -> None:
    """What runs is awaited, left alone or aborted; what was not begun is not, and the report is complete."""
    (tmp_path / "site.conf").write_text(settings)
    report = tmp_path / "report.json"
    program = subprocess.Popen([*PROGRAM, "-v", "--config-file", str(tmp_path / "site.conf"), "plan", "apply", str(plan), "--simulate", str(snapshot),
                                "--yes", "--pace", "0.2", "--report", str(report)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                               preexec_fn=_heeds_ctrl_c)
    assert program.stderr is not None
    said = ""
    for awaited in ("ONGOING: live", "CANCELLED: ")[:times]:
        while awaited not in said:
            said += program.stderr.readline()
            assert program.poll() is None, said
        program.send_signal(sent)
    rest = program.communicate(timeout=60)[1]
    assert "Traceback" not in said + rest
    done = json.loads(report.read_text())
    assert (program.returncode, done["exit_code"], done["interrupted"]) == (3, 3, True)
    assert {one["state"] for one in done["actions"] if one["action"].startswith("live")} == {ended, "CANCELLED"}


def test_log_file(run: Run, snapshot: Path, plan: Path, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    assert run("--log-file", log, "plan", "apply", plan, "--simulate", snapshot, "--yes").code == 0
    assert log.read_text().count("SUCCEEDED: ") == 6
    assert run("--log-file", tmp_path / "no" / "a.log", "strategy", "list").code == 1


def test_quiet(run: Run, snapshot: Path, plan: Path) -> None:
    assert run("-q", "plan", "show", plan).err == ""
    assert run("-q", "plan", "apply", plan, "--simulate", snapshot, "--yes").err.strip() == ""
    assert "cannot be read" in run("-q", "plan", "show", "nowhere").err


@pytest.mark.parametrize("words", [["help", "nonsense"], ["nonsense", "--help"], ["strategy", "list", "--sort-column", "Nope"]])
def test_wrong_usage(run: Run, words: list[str]) -> None:
    ended = run(*words)
    assert ended.code == 2
    assert ended.err
    assert ended.out == ""


def test_one_file_for_two_things(run: Run, snapshot: Path, plan: Path, tmp_path: Path) -> None:
    before = snapshot.read_bytes(), plan.read_bytes()
    both = tmp_path / "x"
    apply = ["plan", "apply", plan, "--simulate", snapshot, "--yes"]
    for words in ([*apply, "--page", both, "--report", both], [*apply, "--report", plan], [*apply, "--page", snapshot], [*apply, "--report", "-"],
                  ["audit", "run", "workload_stabilization", "--snapshot", snapshot, "--out", snapshot]):
        assert run(*words).code == 2
    assert (snapshot.read_bytes(), plan.read_bytes(), both.exists()) == (*before, False)
    ended = run(*apply, "--report", "/dev/null")
    assert (ended.code, "not a regular file" in ended.err) == (1, True)


def test_a_report_that_cannot_be_written_costs_neither_rows_nor_page(run: Run, snapshot: Path, plan: Path, tmp_path: Path,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: object, content: bytes) -> None:
        raise DocumentError(str(path), ["cannot be written: No space left on device"])

    monkeypatch.setattr("placewright.cli.plan.write_bytes", full)
    page = tmp_path / "page.html"
    ended = run("plan", "apply", plan, "--simulate", snapshot, "--yes", "--report", tmp_path / "r.json", "--page", page, "-f", "json")
    assert (ended.code, len(ended.rows), page.exists()) == (1, 6, True)
    assert "No space left" in ended.err


def test_nested_without_end(run: Run, snapshot: Path, tmp_path: Path) -> None:
    deep = tmp_path / "deep.json"
    deep.write_text("[" * 100_000)
    assert "is not JSON" in run("plan", "show", deep).err
    ended = run("audit", "run", "workload_stabilization", "--snapshot", snapshot, "--param", "weights=" + "[" * 50_000)
    assert ended.code == 1
