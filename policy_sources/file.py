"""Rules in a YAML file, and what is wrong with it: all faults at once, each with its line."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from optimizer.cluster import Cluster
from policy_sources.base import Origin, PolicyError, PolicyUnavailable, Rule, RuleSet
from policy_sources.vocabulary.kinds import Fault, parse

VERSION = 1
_MAX_MB = 16
_DEEPEST = 20  # the deepest rule has four levels
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,99})")
_FLOAT = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_NO_TEXT = ("Input should be a valid string", "Input should be a valid tuple")  # what the vocabulary says of a value that is no text


@dataclass(frozen=True, slots=True)
class FileSource:
    """A YAML file of rules; its revision is the begin of the content's SHA-256."""

    path: Path

    @property
    def name(self) -> str:
        """file:PATH."""
        return f"file:{self.path}"

    def read(self, cluster: Cluster) -> RuleSet:
        """The rules of the file, whatever the cluster; raises PolicyUnavailable when it cannot be read, PolicyError with every fault and its line."""
        raw = self._content()
        text = self._text(raw)
        document = _Document()
        nodes = document.statements(self._root(text))
        statements, faults = parse([document.value(node, f"rules.{number}") for number, node in enumerate(nodes)])
        found = [*document.faults, *(_placed(nodes[fault.row], fault) for fault in faults if not document.replaced(fault))]
        if document.aliased:
            found += _aliases(text)
        if found:
            raise PolicyError(self.name, [f"line {line}: {what}" for line, what in sorted(found)])
        revision = hashlib.sha256(raw).hexdigest()[:12]
        rules = tuple(Rule(says, Origin(self.name, f"line {_line(node)}", revision)) for says, node in zip(statements, nodes, strict=True))
        return RuleSet(self.name, rules, datetime.now(UTC).isoformat(timespec="seconds"), revision)

    def _content(self) -> bytes:
        most = _MAX_MB * 2**20
        try:
            if self.path.exists() and not self.path.is_file():
                raise PolicyError(self.name, ["is not a file"])
            with self.path.open("rb") as stream:
                raw = stream.read(most + 1)
        except OSError as error:
            raise PolicyUnavailable(self.name, [f"cannot be read: {error.strerror or error}"]) from None
        if len(raw) > most:
            raise PolicyError(self.name, [f"is larger than {_MAX_MB} MiB, the most that is taken; spread the rules over several files"])
        return raw

    def _text(self, raw: bytes) -> str:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            raise PolicyError(self.name, [f"line {line}: is not UTF-8 (byte 0x{raw[error.start]:02x}); save it in that encoding"]) from None

    def _root(self, text: str) -> yaml.Node | None:
        try:
            loader = _LOADER(text)
            try:
                root: yaml.Node | None = loader.get_single_node()
            finally:
                loader.dispose()
            return root
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, text.find(chr(error.character))) + 1
            raise PolicyError(self.name, [f"line {line}: is not YAML: holds the control character U+{error.character:04X}"]) from None
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
            raise PolicyError(self.name, [f"{where}is not YAML: {', '.join(part for part in (error.context, error.problem) if part)}"]) from None
        except (ValueError, RecursionError) as error:  # of the loader in Python: an escape that is no character, nesting
            raise PolicyError(self.name, [f"is not YAML: {error}"]) from None


class _Document:
    """Nodes as plain values; what cannot be taken is told under ``faults`` (line, text), and something stands in for it."""

    def __init__(self) -> None:
        self.faults: list[tuple[int, str]] = []
        self.aliased = False
        self._seen: set[int] = set()
        self._replaced: set[str] = set()
        self._around: set[str] = set()

    def statements(self, root: yaml.Node | None) -> list[yaml.Node]:
        """The statements of a document; none where it is none."""
        if not isinstance(root, yaml.MappingNode):
            self.faults.append((1 if root is None else _line(root), "a mapping with the keys version and rules is expected"))
            return []
        top = {}
        for name, key, node in self._pairs(root, ""):
            if name not in ("version", "rules"):
                self.faults.append((_line(key), f"{name}: there is no such key; known are version, rules"))
            top[name] = key, node
        version_key, version = top.get("version", (root, None))
        if not isinstance(version, yaml.ScalarNode) or version.tag != f"{_TAG}int" or version.value != str(VERSION):
            given = f" (got {version.value})" if isinstance(version, yaml.ScalarNode) else ""
            self.faults.append((_line(version_key), f"version: need {VERSION}, the version of the format that this program reads{given}"))
        rules_key, rules = top.get("rules", (root, None))
        if not isinstance(rules, yaml.SequenceNode):
            self.faults.append((_line(rules_key), "rules: need a list of rules; [] for none"))
            return []
        return list(rules.value)

    def replaced(self, fault: Fault) -> bool:
        """Whether something stands in for a value at, around or inside the place of a fault: what is wrong there is told already."""
        where = f"rules.{fault.row}.{fault.path}".rstrip(".")
        return where in self._around or any(one in self._replaced for one in _outward(where))

    def value(self, node: yaml.Node, path: str, depth: int = 0) -> Any:
        """A node as plain data."""
        if id(node) in self._seen:
            self.aliased = True
            return self._replace(path, None)
        self._seen.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if depth == _DEEPEST:
            return self._stand_in(node, path, "is nested too deep", None)
        if isinstance(node, yaml.MappingNode):
            if node.tag != f"{_TAG}map":
                return self._stand_in(node, path, f"is a {_kind(node)}; write a plain mapping", None)
            return {name: self.value(value, f"{path}.{name}", depth + 1) for name, _, value in self._pairs(node, f"{path}.")}
        if node.tag != f"{_TAG}seq":
            return self._stand_in(node, path, f"is a {_kind(node)}; write a plain list", None)
        return [self.value(one, f"{path}.{number}", depth + 1) for number, one in enumerate(node.value)]

    def _pairs(self, node: yaml.MappingNode, inside: str) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        """Name, key and value of each pair of a mapping."""
        lines: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or _kind(key) not in ("str", "bool"):
                name = key.value if isinstance(key, yaml.ScalarNode) else "?"
                why = "mappings are not merged; write out the keys" if _kind(key) == "merge" else "a key has to be a text; put it in quotes"
                self.faults.append((_line(key), f"{inside}{name}: {why}"))
            elif key.value in lines:
                self.faults.append((_line(key), f"{inside}{key.value}: is there twice, in line {lines[key.value]} too"))
            else:
                lines[key.value] = _line(key)
                yield key.value, key, value

    def _scalar(self, node: yaml.ScalarNode, path: str) -> Any:
        kind, text = _kind(node), str(node.value)
        if kind == "str":
            return text
        if kind == "null":
            return None
        if kind == "bool":  # as in YAML 1.2: on, off, yes and no are words
            return text.lower() == "true" if text.lower() in ("true", "false") else text
        if kind not in ("int", "float"):
            return self._stand_in(node, path, f"{text} is read as a {kind}; put it in quotes", text)
        if not (_INT if kind == "int" else _FLOAT).fullmatch(text):  # 0755, 0x1f, 12:30, 1_000, .inf
            return self._stand_in(node, path, f"{text} is no plain decimal number; put it in quotes where a text is meant", text)
        return int(text) if kind == "int" else float(text)

    def _stand_in(self, node: yaml.Node, path: str, fault: str, value: str | None) -> str | None:
        self.faults.append((_line(node), f"{path}: {fault}"))
        return self._replace(path, value)

    def _replace(self, path: str, value: str | None) -> str | None:
        self._replaced.add(path)
        self._around.update(_outward(path))
        return value


def _placed(statement: yaml.Node, fault: Fault) -> tuple[int, str]:
    """A fault of a statement with the line of the key it is at, and of the statement where a key is missing."""
    line, node, path = _line(statement), statement, fault.path
    while path:
        steps = _steps(node)
        name = max((name for name in steps if f"{path}.".startswith(f"{name}.")), key=len, default=None)
        if name is None:
            break
        line, node = steps[name]
        path = path[len(name) + 1:]
    text = fault.text
    if isinstance(node, yaml.ScalarNode) and not path and _kind(node) in ("bool", "int", "float") and text.startswith(_NO_TEXT):
        text = f"{text}; put it in quotes: \"{node.value}\""
    return line, f"rules.{fault.row}{'.' if fault.path else ''}{fault.path}: {text}"


def _steps(node: yaml.Node) -> dict[str, tuple[int, yaml.Node]]:
    """What is inside a node, by its name in a path, each with the line of its key."""
    if isinstance(node, yaml.MappingNode):
        return {key.value: (_line(key), value) for key, value in reversed(node.value) if isinstance(key, yaml.ScalarNode)}
    return {str(number): (_line(one), one) for number, one in enumerate(node.value)} if isinstance(node, yaml.SequenceNode) else {}


def _outward(path: str) -> Iterator[str]:
    """A path and all that are around it."""
    while path:
        yield path
        path = path.rpartition(".")[0]


def _aliases(text: str) -> Iterator[tuple[int, str]]:
    for event in yaml.parse(text, Loader=_LOADER):  # an alias shares the node, and the line, of what it stands for
        if isinstance(event, yaml.AliasEvent):
            yield _line(event), f"*{event.anchor}: aliases are not taken; write out what it stands for"


def _kind(node: yaml.Node) -> str:
    """The tag of a node without what all tags of YAML begin with."""
    return str(node.tag).removeprefix(_TAG)


def _line(part: Any) -> int:
    """The line that a node or event begins in, counted from 1."""
    return int(part.start_mark.line) + 1
