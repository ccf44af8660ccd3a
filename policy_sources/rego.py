"""Rules written in Rego: what a policy is given and what it has to yield, and policies that are evaluated without a server.

The input of a policy is a snapshot (docs/snapshot-format.md) with every field. Its rule (``placewright/rules``) is a set or an array of
statements as they stand in a file of rules; each may have a key ``origin`` besides, a text that says where the rule comes from.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from optimizer.cluster import Cluster
from optimizer.snapshot import as_json
from policy_sources.base import PolicyError, Rule, RuleSet, described, rules_of
from policy_sources.regorus import Bundle, RegoFault, RegoUndefined, evaluate
from policy_sources.vocabulary.kinds import parse

RULES = "placewright/rules"
READY = Path(__file__).parent / "policies" / "rego"
"""The folder of the policies that come with Placewright."""

_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(/[A-Za-z_][A-Za-z0-9_-]*)+")


def check_path(source: str, path: str) -> None:
    """Raise PolicyError unless ``path`` leads to a rule in a package: ``placewright/rules``."""
    if not _PATH.fullmatch(path):
        raise PolicyError(source, [f"{path!r} is no path of a rule; need PACKAGE/RULE, such as {RULES}"])


def rules_in(source: str, value: object, revision: str) -> tuple[Rule, ...]:
    """Rules from what a policy yields; raises PolicyError with every fault at once."""
    if not isinstance(value, list):
        kind = {dict: "an object", str: "a text", bool: "true or false", type(None): "null"}.get(type(value), "a number")
        raise PolicyError(source, [f"the rule yields {kind}; need a set or an array of rules, each {{\"rule\": ...}}"])
    rows, faults = [], []
    for number, row in enumerate(value, 1):
        where = f"rule {number}"
        if isinstance(row, dict) and "origin" in row:
            row = dict(row)
            origin = row.pop("origin")
            if isinstance(origin, str) and origin:
                where = origin
            else:
                faults.append(f"{where}: origin: need a text, not {json.dumps(origin)[:60]}")
        rows.append((where, row))
    if faults:
        raise PolicyError(source, faults + [described(rows[fault.row][0], fault) for fault in parse([row for _, row in rows])[1]])
    return rules_of(source, rows, revision)


@dataclass(frozen=True, slots=True)
class RegoSource:
    """Rego files, or folders that are bundles (with ``data.json``, ``data.yaml``, ``.manifest``), evaluated in this process.

    Needs the package gordon-to-regorus (``pip install 'placewright[rego]'``), unless another ``engine`` is given.
    """

    files: tuple[Path, ...]
    path: str = RULES
    engine: Callable[[Bundle, str, bytes], Any] = field(default=evaluate, repr=False)

    def __post_init__(self) -> None:
        """Refuse what cannot be a path."""
        check_path(self.name, self.path)

    @property
    def name(self) -> str:
        """The name in plans and messages: rego:FILE,FOLDER,..."""
        return f"rego:{','.join(map(str, self.files))}"

    def read(self, cluster: Cluster) -> RuleSet:
        """The rules that the policy yields; raises PolicyError when it cannot be read or evaluated, and when it is not defined."""
        bundle = read_bundle(self.name, self.files)
        try:
            value = self.engine(bundle, self.path, as_json(cluster))
        except RegoUndefined as undefined:
            raise PolicyError(self.name, [f"{self.path} is undefined; {_there(undefined.packages)}"]) from None
        except RegoFault as fault:
            raise PolicyError(self.name, fault.texts) from None
        read_at = datetime.now(UTC).isoformat(timespec="seconds")
        return RuleSet(self.name, rules_in(self.name, value, bundle.revision), read_at, bundle.revision)


def _there(packages: Sequence[str]) -> str:
    return f"the files define the package{'s' if len(packages) > 1 else ''} {', '.join(packages)}"


def read_bundle(source: str, paths: Sequence[Path]) -> Bundle:
    """Modules and data of files and bundle folders; raises PolicyError naming every file that cannot be used.

    The revision is that of the ``.manifest`` where there is one folder and it has one, else a digest of what was read.
    """
    modules: dict[str, str] = {}
    data: list[Mapping[str, Any]] = []
    revisions: list[str] = []
    faults: list[str] = []
    digest = hashlib.sha256()
    for top in paths:
        for file in _files(top):
            try:
                text = file.read_text("utf-8")
                if file.suffix == ".rego":
                    modules[str(file)] = text
                elif file.name == ".manifest":
                    revisions += _revision(json.loads(text))
                else:
                    data.append(_mounted(file.relative_to(top).parts[:-1], json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)))
            except OSError as error:
                faults.append(f"{file} cannot be read: {error.strerror or error}")
            except (ValueError, yaml.YAMLError) as error:
                faults.append(f"{file}: {error}")
            else:
                digest.update(f"{file.relative_to(top)}\0{len(text)}\0{text}".encode())
    if not modules and not faults:
        faults = [f"no .rego file in {', '.join(map(str, paths)) or 'an empty list of files'}"]
    if faults:
        raise PolicyError(source, faults)
    return Bundle(modules, tuple(data), revisions[0] if len(revisions) == 1 == len(paths) else digest.hexdigest()[:12])


def _files(top: Path) -> Iterator[Path]:
    """What OPA would read of a bundle, in a fixed order; a file is itself."""
    if not top.is_dir():
        yield top
    else:
        yield from sorted(file for file in top.rglob("*") if file.suffix == ".rego" or file.name in ("data.json", "data.yaml", ".manifest"))


def _revision(manifest: object) -> list[str]:
    """The revision in a manifest; an empty one counts as none."""
    if not isinstance(manifest, dict) or not isinstance(manifest.get("revision", ""), str):
        raise ValueError("need an object whose revision is a text")
    return [manifest["revision"]] if manifest.get("revision") else []


def _mounted(folders: tuple[str, ...], content: object) -> Mapping[str, Any]:
    """Data of a file under the folders it is in."""
    if not isinstance(content, dict):
        raise ValueError("need an object at the top")
    for folder in reversed(folders):
        content = {folder: content}
    return content
