"""What the measurements refuse, before they compute anything."""

from pathlib import Path

import pytest

from benchmarks import btrplace, roadef, scale, vmr2l, watcher
from benchmarks.arguments import Parser, parameter

MAINS = {
    "roadef": (roadef.main, ["--model", "m", "--initial", "i", "--out", "OUT"]), "vmr2l": (vmr2l.main, ["--case", "c", "--out", "OUT"]),
    "btrplace": (btrplace.main, ["--instance", "i", "--out", "OUT"]), "watcher": (watcher.main, ["--cluster", "c", "--out", "OUT"]),
    "scale": (scale.main, []),
}
BAD = [
    (["--seconds", "0"], "'0': need seconds, more than 0"), (["--seconds", "-1"], "'-1': need seconds"),
    (["--seconds", "inf"], "'inf': need seconds"),
    (["--seconds", "nan"], "'nan': need seconds"), (["--seconds", "soon"], "'soon': need seconds"),
    (["--threads", "0"], "'0': need a whole number of 1 or more"), (["--threads", "two"], "'two': need a whole number"),
    (["--seed", "-1"], "'-1': need a whole number of 0 or more"), (["--seed", "1.5"], "'1.5': need a whole number"), (["--nonsense"], "--nonsense"),
]
OWN = [
    ("scale", ["--hosts", "0"], "'0': need a whole number of 1 or more"), ("scale", ["--servers", "-5"], "'-5': need a whole number of 1 or more"),
    ("scale", ["--param", "x"], "'x': need NAME=VALUE"), ("watcher", ["--param", "=3"], "'=3': need NAME=VALUE"),
    ("scale", ["--param", "x=1"], "x: there is no such parameter"), ("vmr2l", ["--mnl", "-1"], "'-1': need a whole number of 0 or more"),
    ("vmr2l", ["--core", "0"], "'0': need a whole number of 1 or more"),
]


def refused(name: str, more: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    main, given = MAINS[name]
    monkeypatch.setattr("sys.argv", [name, *(str(tmp_path / "out") if one == "OUT" else one for one in given), *more])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "Traceback" not in told.err
    return told.err


@pytest.mark.parametrize("name", MAINS)
@pytest.mark.parametrize(("more", "text"), BAD)
def test_bad_values(name: str, more: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                    capsys: pytest.CaptureFixture[str]) -> None:
    assert text in refused(name, more, tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize(("name", "more", "text"), OWN)
def test_bad_values_of_one(name: str, more: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                           capsys: pytest.CaptureFixture[str]) -> None:
    assert text in refused(name, more, tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize("name", sorted(set(MAINS) - {"scale"}))
def test_no_result_is_computed_that_cannot_be_written(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                      capsys: pytest.CaptureFixture[str]) -> None:
    missing = str(tmp_path / "none" / "out")
    assert f"{missing!r}: there is no folder" in refused(name, ["--out", missing], tmp_path, monkeypatch, capsys)
    assert "is a folder" in refused(name, ["--out", str(tmp_path)], tmp_path, monkeypatch, capsys)


def test_values_are_json_or_text() -> None:
    assert [parameter(text) for text in ("a=1", "b=x=y", 'c={"d": 2}', "e=")] == [("a", 1), ("b", "x=y"), ("c", {"d": 2}), ("e", "")]


def test_defaults() -> None:
    given = vars(Parser("doc", 30.0, "time").parse_args([]))
    assert given == {"seconds": 30.0, "threads": 2, "seed": 1}
