"""The shortest way, against a search that tries all ways in the order of their length."""

import random
from collections import deque

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.detour import Maze, State
from optimizer.arrays import compile_arrays
from optimizer.cluster import Cluster
from tests.migrate.test_order import full, full_hosts, rules_of
from tests.support.small import tight, wandered


def maze_of(cluster: Cluster) -> Maze:
    """All servers, with the hosts that each may take."""
    arrays = compile_arrays(cluster, tuple(rules_of(cluster)))
    return Maze(arrays, arrays.start, range(len(cluster.servers)), [np.flatnonzero(arrays.allowed(s)).tolist() for s in range(len(cluster.servers))])


def shortest(maze: Maze, goal: State) -> int | None:
    """How many moves the goal is away, breadth first."""
    far, todo = {maze.start: 0}, deque([maze.start])
    while todo:
        state = todo.popleft()
        if state == goal:
            return far[state]
        free, count = maze._room(state)
        for n, here in enumerate(state):
            for place in maze.places[n]:
                after = (*state[:n], place, *state[n + 1:])
                if place != here and after not in far and maze._fits(n, place, free, count):
                    far[after] = far[state] + 1
                    todo.append(after)
    return None


@settings(max_examples=100, deadline=None)
@given(tight().filter(lambda cluster: len(cluster.servers) <= 6), st.integers(0, 10**6))
def test_no_way_is_shorter(cluster: Cluster, seed: int) -> None:
    maze = maze_of(cluster)
    index = {host.name: h for h, host in enumerate(cluster.hosts)}
    target = wandered(cluster, rules_of(cluster), random.Random(seed))
    goal = tuple(index[target[server.id]] for server in cluster.servers)
    found, least = maze.way(goal, 10**7), shortest(maze, goal)
    assert (found is None) == (least is None)
    if found is not None:
        assert len(found) == least
        where = list(maze.start)
        for server, place in found:
            where[server] = place
        assert tuple(where) == goal


def test_the_search_ends_when_its_budget_is_spent() -> None:
    cluster = full_hosts(full("a", 1, 1, 1, 1), full("b", 1, 1, 1, 1), full("c"))
    maze = maze_of(cluster)
    assert maze.way((1, 1, 1, 1, 0, 0, 0, 0), 50) is None
    assert maze.way((1, 1, 1, 1, 0, 0, 0, 0), 10**6) is not None
