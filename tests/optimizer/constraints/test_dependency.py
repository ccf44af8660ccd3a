"""Groups that need another one near."""

import pytest

from optimizer.constraints.base import check
from optimizer.constraints.dependency import Dependency
from tests.support.clusters import make_cluster, make_host, make_server, moved

ZONES = {"a": "east", "b": "east", "c": "west", "d": "west"}
CLUSTER = make_cluster([make_host(name) for name in "abcd"],
                       [make_server("web1", "a"), make_server("web2", "c"), make_server("db1", "b"), make_server("db2", "d")])
RULE = Dependency("web", ("web1", "web2"), "db", ("db1", "db2"), ZONES)


@pytest.mark.parametrize(("to", "broken"), [
    ({}, []), ({"web1": "c"}, []), ({"db1": "a"}, []), ({"db1": "d"}, ["east"]), ({"db1": "d", "web1": "d"}, []),
    ({"db1": "c", "db2": "a"}, []), ({"db2": "b", "web2": "a"}, []),
])
def test_whoever_is_needed_is_near(to: dict[str, str], broken: list[str]) -> None:
    found = check([RULE], CLUSTER, moved(CLUSTER, **to))
    assert [violation.text.split()[0] for violation in found] == broken
    assert not any(violation.inherited for violation in found)


def test_what_lacks_one_now_may_go_on_but_nobody_joins() -> None:
    cluster = make_cluster(list(CLUSTER.hosts), [make_server("web1", "a"), make_server("web2", "c"), make_server("db1", "d")])
    assert [violation.inherited for violation in check([RULE], cluster, moved(cluster))] == [True]
    assert [violation.inherited for violation in check([RULE], cluster, moved(cluster, web1="b"))] == [True]
    assert [violation.inherited for violation in check([RULE], cluster, moved(cluster, web2="b"))] == [False]


def test_a_host_without_a_domain_is_one_of_its_own() -> None:
    rule = Dependency("web", ("web1",), "db", ("db1",), {})
    assert check([rule], CLUSTER, moved(CLUSTER, web1="b")) == []
    assert [violation.inherited for violation in check([rule], CLUSTER, moved(CLUSTER, web1="c"))] == [False]
