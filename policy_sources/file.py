"""Rules in a YAML file, and what is wrong with it: all faults at once, each with its line."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from optimizer.cluster import Cluster
from policy_sources.base import Origin, PolicyError, Rule, RuleSet, described
from policy_sources.vocabulary.kinds import parse

VERSION = 1
_MAX_MB = 64
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PLAIN = {f"tag:yaml.org,2002:{name}": name for name in ("str", "int", "float", "bool", "null")}


@dataclass(frozen=True, slots=True)
class FileSource:
    """A YAML file of rules; its revision is the begin of the content's SHA-256."""

    path: Path

    @property
    def name(self) -> str:
        """file:PATH."""
        return f"file:{self.path}"

    def read(self, cluster: Cluster) -> RuleSet:
        """The rules of the file, whatever the cluster; raises PolicyError with every fault and its line."""
        raw = self._content()
        revision = hashlib.sha256(raw).hexdigest()[:12]
        document = _Document()
        rows = document.rows(self._root(raw))
        statements, faults = parse([value for value, _ in rows])
        found = [(rows[fault.row][1].of(fault.path), described(f"rules.{rows[fault.row][1].number}", fault)) for fault in faults] + document.faults
        if found:
            raise PolicyError(self.name, [f"line {line}: {text}" for line, text in sorted(found)])
        rules = tuple(Rule(says, Origin(self.name, f"line {places.first}", revision)) for says, (_, places) in zip(statements, rows, strict=True))
        return RuleSet(self.name, rules, datetime.now(UTC).isoformat(timespec="seconds"), revision)

    def _content(self) -> bytes:
        try:
            if self.path.stat().st_size > _MAX_MB * 2**20:
                raise PolicyError(self.name, [f"the file is larger than {_MAX_MB} MiB"])
            return self.path.read_bytes()
        except OSError as error:
            raise PolicyError(self.name, [f"cannot be read: {error.strerror}"]) from None

    def _root(self, raw: bytes) -> yaml.Node | None:
        try:
            loader = _LOADER(raw.decode("utf-8"))
            try:
                root: yaml.Node | None = loader.get_single_node()
            finally:
                loader.dispose()
            return root
        except UnicodeDecodeError as error:
            raise PolicyError(self.name, [f"byte {error.start}: is not UTF-8"]) from None
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            mark = getattr(error, "problem_mark", None)
            where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
            why = getattr(error, "problem", None) or str(error) or type(error).__name__
            raise PolicyError(self.name, [f"{where}is not YAML: {why}"]) from None


@dataclass
class _Places:
    """The line of each key and entry of a statement, by its path; ``number`` counts statements, ``first`` is the line it begins in."""

    number: int
    first: int
    lines: dict[str, int] = field(default_factory=dict)

    def of(self, path: str) -> int:
        """The line of a path, or of the nearest thing around it."""
        while path and path not in self.lines:
            path = path.rpartition(".")[0]
        return self.lines.get(path, self.first)


class _Document:
    """Nodes as plain values; what cannot be taken is told under ``faults`` (line, text)."""

    def __init__(self) -> None:
        self.faults: list[tuple[int, str]] = []
        self.seen: set[int] = set()
        self.constructor = yaml.constructor.SafeConstructor()

    def rows(self, root: yaml.Node | None) -> list[tuple[Any, _Places]]:
        """The statements of a document, each with its lines."""
        if root is None or not isinstance(root, yaml.MappingNode):
            self._fault(root, "a mapping with \"version: 1\" and \"rules:\" is expected")
            return []
        top = dict(self._pairs(root, ""))
        for key, node in top.items():
            if key not in ("version", "rules"):
                self._fault(node, f"{key}: there is no such key; known are version, rules")
        if "version" not in top or self._value(top["version"], "version", _Places(0, 1)) != VERSION:
            self._fault(top.get("version", root), f"version: need {VERSION}, the version of the format that this program reads")
        if not isinstance(top.get("rules"), yaml.SequenceNode):
            self._fault(top.get("rules", root), "rules: need a list; [] for no rules")
            return []
        found = []
        for number, node in enumerate(top["rules"].value):
            places = _Places(number, _line(node))
            before = len(self.faults)
            value = self._value(node, "", places)
            if len(self.faults) > before:  # told already; what is left of it would only be told twice
                self.faults[before:] = [(line, f"rules.{number}.{text}") for line, text in self.faults[before:]]
                continue
            found.append((value, places))
        return found

    def _value(self, node: yaml.Node, path: str, places: _Places) -> Any:
        if id(node) in self.seen:
            self._fault(node, f"{path}: aliases (*name) are not taken; write it out")
            return None
        self.seen.add(id(node))
        inside = f"{path}." if path else ""
        if isinstance(node, yaml.MappingNode):
            found = {}
            for key, value in self._pairs(node, inside):
                places.lines[f"{inside}{key}"] = _line(value)
                found[key] = self._value(value, f"{inside}{key}", places)
            return found
        if isinstance(node, yaml.SequenceNode):
            for number, one in enumerate(node.value):
                places.lines[f"{inside}{number}"] = _line(one)
            return [self._value(one, f"{inside}{number}", places) for number, one in enumerate(node.value)]
        return self._scalar(node, path)

    def _pairs(self, node: yaml.MappingNode, inside: str) -> Iterator[tuple[str, yaml.Node]]:
        lines: dict[str, int] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else "?"
            if not isinstance(key, yaml.ScalarNode) or _PLAIN.get(key.tag) not in ("str", "bool"):
                self._fault(key, f"{inside}{name}: a key has to be a text; put it in quotes")
            elif name in lines:
                self._fault(key, f"{inside}{name}: is there twice, in line {lines[name]} too")
            else:
                lines[name] = _line(key)
                yield name, value

    def _scalar(self, node: yaml.Node, path: str) -> Any:
        kind = _PLAIN.get(node.tag)
        if kind is None:
            self._fault(node, f"{path}: {node.value!r} is read as a {node.tag.rpartition(':')[2]}; put it in quotes")
            return None
        if kind == "bool" and node.value.lower() not in ("true", "false"):  # as in YAML 1.2: on, off, yes and no are words
            return node.value
        try:
            return self.constructor.construct_object(node)
        except (ValueError, yaml.YAMLError):
            self._fault(node, f"{path}: {node.value!r} is no {kind}; put it in quotes")
            return None

    def _fault(self, node: yaml.Node | None, text: str) -> None:
        self.faults.append((1 if node is None else _line(node), text))


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
