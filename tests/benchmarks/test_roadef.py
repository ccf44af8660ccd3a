"""The reader of the challenge's instances; what comes out, judged by the referee."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import roadef
from benchmarks.referees.roadef import Model, read_assignment
from optimizer.errors import PlacewrightError
from optimizer.placement import placement_of

DATA = Path(roadef.__file__).parent / "data" / "roadef"
# One resource, kept by servers that move; two machines; one service of two processes, kept apart; then costs.
SMALL = [1, 1, 10, 2, 0, 0, 9, 3, 0, 5, 1, 1, 9, 4, 5, 0, 1, 1, 0, 2, 0, 4, 7, 0, 2, 3, 0, 1, 1, 1]
START = [0, 1]


def written(folder: Path, numbers: list[object], start: list[object]) -> tuple[Path, Path]:
    model, initial = folder / "model.txt", folder / "initial.txt"
    model.write_text(" ".join(map(str, numbers)))
    initial.write_text(" ".join(map(str, start)))
    return model, initial


def test_the_small_one_is_right(tmp_path: Path) -> None:
    problem = roadef.read_problem(*written(tmp_path, [*SMALL], [*START]))
    cluster = problem.cluster
    assert [host.inventory["CUSTOM_R0"].capacity for host in cluster.hosts] == [9, 9]
    assert [server.resources["CUSTOM_R0"] for server in cluster.servers] == [4, 2]
    assert not problem.breaches(placement_of(cluster))
    assert problem.breaches({"p0": "m1", "p1": "m1"})
    # Exchanged: load 10 x (0 + 0), processes 7 + 3, two of one service, machines 5 + 5.
    assert problem.values({"p0": "m1", "p1": "m0"}) == (10 + 2 + 10,)
    assert problem.values(placement_of(cluster)) == (10 * (4 - 3),)


@pytest.mark.parametrize(("numbers", "start", "message"), [
    (SMALL[:-1], START, "ends within weights: 29 numbers, need 30 or more"), ([*SMALL, 1], START, "1 numbers too many"),
    ([*SMALL[:3], 200, *SMALL[4:]], START, "ends within machines"), ([-1], START, "ends within resources"), ([], START, "ends within resources"),
    (["one"], START, "need whole numbers only"), (SMALL, [0], "1 machines, need 2 from 0 to 1"), (SMALL, [0, 2], "2 machines, need 2 from 0 to 1"),
    (SMALL, [0, -1], "need 2 from 0 to 1"),
])
def test_bad_files(tmp_path: Path, numbers: list[object], start: list[object], message: str) -> None:
    with pytest.raises(PlacewrightError, match=message):
        roadef.read_problem(*written(tmp_path, numbers, start))


@pytest.mark.parametrize("name", ["a1_1", "a1_2", "a2_5"])
def test_the_problem_costs_what_the_referee_says(name: str) -> None:
    problem = roadef.read_problem(DATA / f"model_{name}.txt.xz", DATA / f"assignment_{name}.txt.xz")
    model = Model(str(DATA / f"model_{name}.txt.xz"))
    start = read_assignment(str(DATA / f"assignment_{name}.txt.xz"), model)
    assert problem.values(placement_of(problem.cluster))[0] == model.cost(start, start)["total"]
    assert not problem.breaches(placement_of(problem.cluster))


@pytest.mark.parametrize("name", ["a1_1", "a1_5"])
def test_the_command_improves_and_the_referee_agrees(tmp_path: Path, name: str) -> None:
    model_file, start_file, new = DATA / f"model_{name}.txt.xz", DATA / f"assignment_{name}.txt.xz", tmp_path / "new.txt"
    done = subprocess.run([sys.executable, "-m", "benchmarks.roadef", "--model", model_file, "--initial", start_file, "--seconds", "20",
                           "--threads", "1", "--out", new], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    model = Model(str(model_file))
    start, found = read_assignment(str(start_file), model), read_assignment(str(new), model)
    assert not any(model.violations(start, found).values())
    assert model.cost(start, found)["total"] == told["cost"] < told["initial"]
    assert told["bound"] is None or model.lower_bound() <= told["cost"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "benchmarks.roadef", "--model", "no/such.txt", "--initial", "no/other.txt", "--out",
                           tmp_path / "new.txt"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no/such.txt" in done.stderr
    assert "Traceback" not in done.stderr
