"""The embedded Rego engine: regorus, from the package gordon-to-regorus.

Where regorus yields less than OPA without a word, a policy is refused, as no rule may be lost unseen:

* it drops every result of a rule when an expression in its head is undefined once, OPA that one result. What such a head needs is to be
  bound to a name in the body, where both agree;
* ``http.send`` and ``walk`` with one argument are undefined in it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_COMPREHENSIONS = {"SetCompr", "ArrayCompr", "ObjectCompr"}


@dataclass(frozen=True, slots=True)
class Bundle:
    """Rego modules (name of the file -> text), documents of data to be merged, and the revision of it all."""

    modules: Mapping[str, str]
    data: tuple[Mapping[str, Any], ...] = ()
    revision: str = ""


class RegoFault(Exception):
    """A policy that cannot be evaluated; ``texts`` say what is wrong with it, and where."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Keep the texts."""
        super().__init__("; ".join(texts))
        self.texts = texts


class RegoUndefined(Exception):
    """There is no such rule, or none of its bodies holds; ``packages`` are those there are."""

    def __init__(self, packages: Sequence[str]) -> None:
        """Keep the packages."""
        super().__init__(", ".join(packages))
        self.packages = packages


def evaluate(bundle: Bundle, path: str, document: bytes) -> Any:
    """The value of a rule for an input (JSON), sets as lists; raises RegoUndefined, and RegoFault with what is wrong with the policy."""
    try:
        import regorus
    except ImportError:
        raise RegoFault(["the embedded Rego engine is not installed; pip install 'placewright[rego]' installs it"]) from None
    engine = regorus.Engine()
    try:
        for name, text in bundle.modules.items():
            engine.add_policy(name, text)
        for data in bundle.data:
            engine.add_data_json(json.dumps(data))
        if faults := list(_lost(json.loads(engine.get_ast_as_json()))):
            raise RegoFault(faults)
        engine.set_input_json(document.decode())
        # eval_rule cannot give sets of objects to Python, and does not know an undefined rule from an unknown one.
        found = json.loads(engine.eval_query_as_json("data" + "".join(f'["{step}"]' for step in path.split("/"))))
    except (RuntimeError, TypeError, ValueError) as error:
        raise RegoFault([_told(error)]) from None
    if not found:
        raise RegoUndefined([name.removeprefix("data.") for name in engine.get_packages()])
    return found["result"][0]["expressions"][0]["value"]


def _told(error: Exception) -> str:
    """The place and the sentence of a message that also draws the line and ends in a stack."""
    lines = [line.strip() for line in str(error).split("\n\nStack backtrace")[0].splitlines() if line.strip()]
    place = next((line.removeprefix("--> ") for line in lines if line.startswith("--> ")), "")
    text = "; ".join(line.removeprefix("error: ") for line in lines if line.startswith("error: ")) or " ".join(lines)
    return f"{place}: {text}" if place else text


def _lost(files: Sequence[Any]) -> Iterator[str]:
    """A fault for each rule of which results could be lost."""
    rules = [(file["source"]["file"], rule["Spec"]) for file in files for rule in file["ast"]["rules"] if "Spec" in rule]
    functions = {_last_name(rule["head"]["Func"]["refr"]) for _, rule in rules if "Func" in rule["head"]}
    for name, rule in rules:
        (kind, head), = rule["head"].items()
        yield from (f"{name}:{rule['span']['line']}: {called}, which the embedded engine does not have; ask an OPA server, or do without"
                    for called in _missing([rule["head"], rule["bodies"]]))
        result = head["key"] if kind == "Set" else (head["assign"] or {}).get("value")
        if _loops(rule["bodies"]) and _may_be_undefined([*_indices(head["refr"]), result], functions):
            yield (f"{name}:{rule['span']['line']}: the head of {_last_name(head['refr'])} looks something up or calls a function; the embedded "
                   "engine loses all results when that is undefined for one; bind it in the body (NAME := ...) and put NAME in the head")


def _missing(node: Any) -> Iterator[str]:
    """Calls that are undefined in the embedded engine."""
    if isinstance(node, list):
        for part in node:
            yield from _missing(part)
    elif isinstance(node, dict):
        for kind, inner in node.items():
            if kind == "Call":
                name = _last_name(inner["fcn"])
                if name == "send" and "RefDot" in inner["fcn"]:
                    yield "http.send"
                elif name == "walk" and len(inner["params"]) == 1:
                    yield "walk with one argument"
            yield from _missing(inner)


def _loops(node: Any) -> bool:
    """Whether a body may hold more than once: it has a ``some``, a variable in brackets, or a walk."""
    if isinstance(node, list):
        return any(map(_loops, node))
    if not isinstance(node, dict):
        return False
    for kind, inner in node.items():
        looped = (kind == "RefBrack" and "Var" in inner["index"]) or (kind == "Call" and _last_name(inner["fcn"]) == "walk")
        if looped or kind in ("SomeIn", "SomeVars") or (kind not in _COMPREHENSIONS and _loops(inner)):
            return True
    return False


def _indices(ref: Mapping[str, Any]) -> Iterator[Any]:
    """What stands in brackets in the name of a rule."""
    (kind, node), = ref.items()
    if kind == "RefBrack":
        yield node["index"]
    if kind in ("RefBrack", "RefDot"):
        yield from _indices(node["refr"])


def _may_be_undefined(node: Any, functions: set[str]) -> bool:
    """Whether an expression refers into something or calls a function of the policy; comprehensions leave out what is undefined."""
    if isinstance(node, list):
        return any(_may_be_undefined(part, functions) for part in node)
    if not isinstance(node, dict):
        return False
    for kind, inner in node.items():
        if kind in _COMPREHENSIONS:
            continue
        if kind == "Call":
            if _last_name(inner["fcn"]) in functions or _may_be_undefined(inner["params"], functions):
                return True
        elif kind in ("RefDot", "RefBrack") or _may_be_undefined(inner, functions):
            return True
    return False


def _last_name(ref: Mapping[str, Any]) -> str:
    (kind, node), = ref.items()
    if kind == "RefDot":
        return str(node["field"][1])
    return _last_name(node["refr"]) if kind == "RefBrack" else str(node["value"])
