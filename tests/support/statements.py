"""Statements of every kind as plain data, for hypothesis."""

from typing import Any

from hypothesis import strategies as st

_TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufeff\ufffe\uffff"), min_size=1, max_size=8) | st.sampled_from(
    ("no", "true", "0755", "1.10", "12:30", "2026-01-01", "~", "*", "web-*", "a: b", "#x", "ü"))
_TEXTS = _TEXT | st.lists(_TEXT, min_size=1, max_size=3)
_PAIRS = st.dictionaries(_TEXT, _TEXT, min_size=1, max_size=2)
_DOMAIN = st.sampled_from(("zone", "rack", "metadata:room", "aggregate:row-*", "trait:CUSTOM_ROW_"))


def _selector(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    fields = {**dict.fromkeys(names, _TEXTS), "metadata": _PAIRS}
    return st.fixed_dictionaries({}, optional=fields).filter(bool)


_SERVERS = _selector("id", "name", "project", "tag", "flavor", "image", "group", "host", "zone")
_HOSTS = _selector("id", "name", "zone", "aggregate", "trait")
_LATER = {"why": st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufeff\ufffe\uffff"), max_size=20)}
_WEIGHT = {"should": st.floats(1e-3, 1e6) | st.integers(1, 10**6)}


def _kind(name: str, optional: dict[str, Any], **fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"rule": st.just(name), **fields}, optional={**_LATER, **optional})


def statements() -> st.SearchStrategy[dict[str, Any]]:
    """Valid statements of every kind."""
    count, flag = st.integers(2, 9), st.booleans()
    return st.one_of(
        _kind("together", {**_WEIGHT, "within": _DOMAIN | st.just("host")}, servers=_SERVERS),
        _kind("apart", {**_WEIGHT, "max_per_host": count, "during_moves": flag}, servers=_SERVERS),
        _kind("spread", {**_WEIGHT, "at_least": count}, servers=_SERVERS, across=_DOMAIN),
        _kind("near", {**_WEIGHT, "within": _DOMAIN}, servers=_SERVERS, needs=_SERVERS),
        *(_kind(name, _WEIGHT, servers=_SERVERS, hosts=_HOSTS) for name in ("on", "not_on", "exclusive")),
        _kind("evacuate", _WEIGHT, hosts=_HOSTS),
        _kind("quarantine", {}, hosts=_HOSTS),
        *(_kind(name, {}, servers=_SERVERS) for name in ("keep", "no_live_migration", "no_cold_migration")),
        _kind("automation", {}, servers=_SERVERS, level=st.sampled_from(("off", "advise"))),
        _kind("cap", {**_WEIGHT, "during_moves": flag}, hosts=_HOSTS, resource=st.sampled_from(("VCPU", "CUSTOM_X", "cpu_load")),
              percent=st.floats(0, 100) | st.integers(0, 100)),
        _kind("sensitivity", _WEIGHT, servers=_SERVERS, property=st.sampled_from(("latency", "throughput", "availability", "cost")),
              level=st.sampled_from(("low", "medium", "high"))))
