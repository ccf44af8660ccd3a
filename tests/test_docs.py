"""The documentation names everything there is, and nothing that is not."""

import argparse
import dataclasses
import re
import shlex
from pathlib import Path

import pytest
import yaml
from cliff.command import Command
from cliff.lister import Lister

import datasources
from migrate import plan as plan_module
from optimizer import cluster as cluster_module
from optimizer.arrays import ENCODINGS
from optimizer.cluster import Cluster
from optimizer.solvers.cp_sat_terms import TERMS
from placewright.cli.app import COMMANDS, PlacewrightApp
from placewright.config import OPTIONS
from placewright.policy_table import POLICY_SOURCES
from policy_sources.file import FileSource
from policy_sources.marks import MARKS, WISHES
from policy_sources.vocabulary.kinds import KINDS, parse
from policy_sources.vocabulary.selectors import Hosts, Servers
from strategies.registry import BUILT_IN

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    [
        ROOT / "README.md",
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "benchmarks").glob("**/README.md"),
        *(ROOT / "changelog.d").glob("*.md"),
    ]
)
SOURCES = [path for folder in ("optimizer", "datasources") for path in (ROOT / folder).glob("*.py")]


def page(name):
    return (ROOT / "docs" / name).read_text()


def section(text, title, level="##"):
    """The part of a page below a heading."""
    found = re.search(rf"^{level} {re.escape(title)}\b.*?(?=^#{{1,{len(level)}}} |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"there is no section {title!r}"
    return found[0]


def options_of(parser):
    return {text for action in parser._actions for text in (action.option_strings or [action.metavar or action.dest])}


def command_parsers():
    app = PlacewrightApp()
    return {name: kind(app, None, cmd_name=name).get_parser(f"placewright {name}") for name, kind in COMMANDS.items()}


def inherited_options(kind):
    base = Lister if issubclass(kind, Lister) else Command

    class Bare(base):
        """Nothing of its own."""

        def take_action(self, parsed_args):
            return (), ()

    return options_of(Bare(PlacewrightApp(), None, cmd_name="bare").get_parser("bare"))


def global_options():
    return options_of(PlacewrightApp().build_option_parser("", "0", {}))


def dataclasses_of(module):
    return [
        kind for kind in vars(module).values() if dataclasses.is_dataclass(kind) and kind.__module__ == module.__name__
    ]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_and_its_options_are_in_cli_md(name):
    part = section(page("cli.md"), f"placewright {name}")
    own = options_of(command_parsers()[name]) - inherited_options(COMMANDS[name])
    assert {option for option in own if f"`{option}" not in part} == set()


def test_every_global_option_is_in_cli_md():
    part = section(page("cli.md"), "Global options")
    assert {option for option in global_options() if f"`{option}" not in part} == set()


def test_cli_md_names_no_command_that_does_not_exist():
    assert {
        " ".join(words) for words in re.findall(r"^## placewright (\w+) (\w+)", page("cli.md"), re.MULTILINE)
    } == set(COMMANDS)


@pytest.mark.parametrize("kind", BUILT_IN, ids=lambda kind: kind.name)
def test_every_strategy_and_parameter_is_in_strategies_md(kind):
    part = section(page("strategies.md"), "Parameters of every strategy") + section(page("strategies.md"), kind.name)
    assert kind.goal in part
    for name, field in kind.parameters.model_fields.items():
        row = re.search(rf"^\| `{name}` \| ([^|]*) \| \S", part, re.MULTILINE)
        assert row, f"parameter {name} is not in a table"
        default = field.default
        if isinstance(default, bool | int | float | str):
            shown = (
                str(default).lower()
                if isinstance(default, bool)
                else f"{default:g}"
                if isinstance(default, float)
                else str(default)
            )
            assert row[1] == shown, f"default of {name}"
    assert set(re.findall(r"^\| `(\w+)` \|", section(page("strategies.md"), kind.name), re.MULTILINE)) <= set(
        kind.parameters.model_fields
    )


@pytest.mark.parametrize("name", sorted(kind.name for kind in ENCODINGS))
def test_every_constraint_is_in_rules_md(name):
    assert re.search(rf"^\| `{name}` \|", page("rules.md"), re.MULTILINE)


@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_kind_of_rule_is_in_rules_md_with_its_keys_and_an_example(name):
    part = section(page("rules.md"), name, "###")
    fields = KINDS[name].model_fields
    assert re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE) == [key for key in fields if key not in ("rule", "should", "why")]
    (example,) = re.findall(r"```yaml\n(.*?)```", part, re.DOTALL)
    (statement,), faults = parse([{"rule": name, **{key: value for key, value in yaml.safe_load(example).items() if key != "rule"}}])
    assert not faults
    assert f"rule: {name}\n" in example
    assert isinstance(statement, KINDS[name])


@pytest.mark.parametrize("selector", [Servers, Hosts], ids=lambda kind: kind.__name__)
def test_every_way_to_select_is_in_rules_md(selector):
    part = section(page("rules.md"), selector.__name__, "###")
    assert re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE) == list(selector.model_fields)


@pytest.mark.parametrize("name", sorted(POLICY_SOURCES))
def test_every_source_of_rules_is_in_the_docs(name):
    usage = POLICY_SOURCES[name].usage
    assert f"`{usage}`" in section(page("cli.md"), "placewright audit run")
    assert f"`{usage}`" in page("rules.md")


@pytest.mark.parametrize("name", sorted(kind.name for kind in TERMS))
def test_every_objective_is_in_solver_md(name):
    assert f"| `{name}` |" in section(page("solver.md"), "Objectives")


def test_every_obstacle_is_in_rules_md():
    kinds = {
        kind
        for path in SOURCES
        for kind in re.findall(r'(?:kind=|kind = |yield \(?)"([a-z_]+)"(?=, | if )', path.read_text())
    }
    kinds |= {
        kind for path in SOURCES for kind in re.findall(r'kind = "\w+" if [^\n]* else "([a-z_]+)"', path.read_text())
    }
    assert {"in_flight", "locked", "nested", "allocation"} <= kinds, "the search does not find the kinds any more"
    part = section(page("rules.md"), "Which servers cannot be moved")
    assert {kind for kind in kinds if f"| `{kind}` |" not in part} == set()
    assert set(re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE)) == kinds


@pytest.mark.parametrize("module", sorted(path.stem for path in Path(datasources.__file__).parent.glob("[!_]*.py")))
def test_every_datasource_module_is_in_architecture_md(module):
    assert f"`{module}`" in section(page("architecture.md"), "Folders")


@pytest.mark.parametrize("group", sorted(OPTIONS))
def test_every_setting_is_in_configuration_md(group):
    part = section(page("configuration.md"), f"[{group}]".rstrip("]"))
    for option in OPTIONS[group]:
        default = "unset" if option.default is None else option.default
        if isinstance(default, list):
            default = ", ".join(default) or "none"
        shown = option.sample_default or (
            str(default).lower()
            if isinstance(default, bool)
            else f"{default:g}"
            if isinstance(default, float)
            else default
        )
        assert f"| `{option.dest}` | {shown} |" in part, option.dest
    assert set(re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE)) == {option.dest for option in OPTIONS[group]}


@pytest.mark.parametrize("kind", dataclasses_of(cluster_module), ids=lambda kind: kind.__name__)
def test_every_field_of_the_snapshot_is_in_its_page(kind):
    part = section(page("snapshot-format.md"), kind.__name__)
    assert re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE) == [field.name for field in dataclasses.fields(kind)]
    for field in dataclasses.fields(kind):
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        assert bool(re.search(rf"^\| `{field.name}` \| [^|]* \| required \|", part, re.MULTILINE)) == required, (
            field.name
        )


@pytest.mark.parametrize("kind", dataclasses_of(plan_module), ids=lambda kind: kind.__name__)
def test_every_field_of_the_plan_is_in_its_page(kind):
    named = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`\n]+)`", page("plan-format.md")))))
    assert {field.name for field in dataclasses.fields(kind)} <= named


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text())
    assert [target for target in targets if "://" not in target and not (path.parent / target).exists()] == []


def commands_in(text):
    """Command lines that start with the program's name, in code blocks and in code spans; continued lines joined."""
    joined = re.sub(r"\\\n\s*", " ", text)
    blocks = "".join(re.findall(r"^\s*```.*?\n(.*?)^\s*```", joined, re.MULTILINE | re.DOTALL))
    prose = re.sub(r"^\s*```.*?^\s*```", "", joined, flags=re.MULTILINE | re.DOTALL)
    lines = [line.strip().removeprefix("$ ") for line in blocks.splitlines()] + re.findall(r"`([^`\n]+)`", prose)
    return [line.removeprefix(".venv/bin/") for line in lines if re.match(r"(\.venv/bin/)?placewright +[a-z]", line)]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_in_a_page_exist_with_their_options(path):
    parsers = command_parsers()
    for line in commands_in(path.read_text()):
        words = shlex.split(line)[1:]
        if words[0] in ("help", "complete"):
            continue
        name = " ".join(words[:2])
        assert name in parsers, line
        used = {word for word in words[2:] if word.startswith("--")}
        assert used <= options_of(parsers[name]) | global_options(), line


@pytest.mark.parametrize(
    "path", [path for path in PAGES if path.name != "testing.md"], ids=lambda path: str(path.relative_to(ROOT))
)
def test_options_in_prose_exist(path):
    known = global_options().union(*map(options_of, command_parsers().values()))
    named = {
        option for span in re.findall(r"`(--[^`\n]+)`", path.read_text()) for option in re.findall(r"^--[a-z-]+", span)
    }
    assert named <= known


def test_the_search_for_commands_finds_them():
    assert commands_in(
        "```\n$ placewright audit run x \\\n   --seed 1\nls\n```\nand `placewright plan show P`, `other`"
    ) == ["placewright audit run x  --seed 1", "placewright plan show P"]
    assert "--seed" in options_of(command_parsers()["audit run"])
    assert isinstance(command_parsers()["audit run"], argparse.ArgumentParser)


@pytest.mark.parametrize(
    "requirement",
    ["cliff", "jinja2", "numpy", "openstacksdk", "ortools", "oslo.config", "pydantic", "rich", "tenacity"],
)
def test_version_ranges_in_architecture_md_are_those_of_setup_cfg(requirement):
    wanted = re.search(rf"^    {re.escape(requirement)}(\S+)$", (ROOT / "setup.cfg").read_text(), re.MULTILINE)
    assert wanted
    assert f"| {requirement} | {wanted[1]} |" in page("architecture.md")


def test_every_mark_is_in_marks_md():
    part = section(page("marks.md"), "The marks")
    for mark in MARKS:
        row = re.search(rf"^\| `{mark}` \|.*\| (may|may not) \|$", part, re.MULTILINE)
        assert row, mark
        assert (row[1] == "may") == (mark in WISHES)
    assert set(re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE)) == set(MARKS)
    named = section(page("marks.md"), "What tenants may do").partition("and is ")[2].partition(" unless")[0]
    assert set(re.findall(r"`(\w+)`", named)) == WISHES


def test_the_file_of_rules_in_policy_file_md_can_be_read(tmp_path):
    (content,) = re.findall(r"```yaml\n(.*?)```", page("policy-file.md"), re.DOTALL)
    (tmp_path / "rules.yaml").write_text(content)
    read = FileSource(tmp_path / "rules.yaml").read(Cluster(name="nobody", taken_at="", hosts=()))
    assert [rule.says.rule for rule in read.rules] == ["apart", "on", "automation"]
