"""The kernel of scheduling (numba): tasks played through in time, moment by moment."""

import math

import numpy as np

from optimizer.solvers.jit import allocating

_EPSILON_S = 1e-9


@allocating
def _next(moment, least, interval_s):
    """The first look from a moment on, and not before ``least``."""
    return max(least, math.ceil((moment - _EPSILON_S) / interval_s) * interval_s)


@allocating
def play(T, key, crowding):
    """Seconds at which each task begins and ends, and the tasks in the order of their beginnings.

    Of the tasks that may begin, that of the least ``key`` goes first, to which ``crowding`` is added for each of its two links that is in use.
    """
    tasks, links = len(T.setup), T.links
    begin, end, order = np.full(tasks, np.nan), np.full(tasks, np.nan), np.empty(tasks, np.int64)
    waits, free = T.waits.copy(), T.room.copy()
    ready, flying = np.empty(tasks, np.int64), np.empty(tasks, np.int64)
    setup, work = T.setup.copy(), T.work.copy()
    active, left, busy, sending, used = np.empty(tasks, np.bool_), np.empty(tasks), np.zeros(links), np.zeros(links), np.zeros(links)
    over = np.full(tasks, np.inf)  # when the tail of a task whose work is done has passed
    begun, flights, waiting, now = 0, 0, 0, 0.0
    for task in range(tasks):
        if not waits[task]:
            ready[waiting] = task
            waiting += 1
    while waiting or flights:
        instants = begun
        scan = True
        while scan:
            best, least, place = -1, np.inf, -1
            for k in range(waiting):
                task = ready[k]
                price = key[task]
                if crowding and not T.instant[task]:
                    price += crowding * ((used[T.source[task]] > 0) + (used[T.target[task]] > 0))
                if price > least or (price == least and task > best):
                    continue
                fits = True
                for p in range(T.first_place[task], T.first_place[task + 1]):
                    fits = fits and free[T.places[p]] > 0
                if fits:
                    best, least, place = task, price, k
            scan = best >= 0
            if scan:
                ready[place] = ready[waiting - 1]
                waiting -= 1
                begin[best], order[begun] = now, best
                begun += 1
                for p in range(T.first_place[best], T.first_place[best + 1]):
                    free[T.places[p]] -= 1
                if not T.instant[best]:
                    used[T.source[best]] += 1
                    used[T.target[best]] += 1
                    flying[flights] = best
                    flights += 1
        look, next_look = np.inf, now + T.interval_s
        for k in range(instants, begun):
            if T.instant[order[k]]:
                look = next_look
        for k in range(flights):
            if over[flying[k]] < np.inf:
                look = min(look, _next(over[flying[k]], next_look, T.interval_s))
        while now < look - _EPSILON_S:
            # In the order of their beginnings: of those that queue for a source, the first are served.
            for k in range(flights):
                busy[T.source[flying[k]]] = busy[T.target[flying[k]]] = sending[T.source[flying[k]]] = 0.0
            for k in range(flights):
                task = flying[k]
                if over[task] == np.inf:
                    active[k] = not T.queued[task] or sending[T.source[task]] < T.lanes
                    sending[T.source[task]] += T.queued[task]
                    if active[k]:
                        busy[T.source[task]] += 1
                        busy[T.target[task]] += 1
            step = look - now
            for k in range(flights):
                task = flying[k]
                left[k] = np.inf
                if over[task] == np.inf and active[k]:
                    left[k] = setup[task] + work[task] * max(1.0, max(busy[T.source[task]], busy[T.target[task]]) / T.abreast)
                    step = min(step, left[k])
            now += step
            for k in range(flights):
                task = flying[k]
                if left[k] < np.inf:
                    passed = min(setup[task], step)
                    setup[task] -= passed
                    work[task] = max(0.0, work[task] - (step - passed) / max(1.0, max(busy[T.source[task]], busy[T.target[task]]) / T.abreast))
                    if left[k] <= step + _EPSILON_S:
                        over[task] = now + T.tail[task]
                        look = min(look, _next(over[task], next_look, T.interval_s))
        now = look
        kept = 0
        for k in range(flights + begun - instants):
            task = flying[k] if k < flights else order[instants + k - flights]
            if k >= flights and not T.instant[task]:
                continue
            if k < flights and over[task] > now + _EPSILON_S:
                flying[kept] = task
                kept += 1
                continue
            end[task] = now
            if k < flights:
                used[T.source[task]] -= 1
                used[T.target[task]] -= 1
            for p in range(T.first_place[task], T.first_place[task + 1]):
                free[T.places[p]] += 1
            for c in range(T.first_child[task], T.first_child[task + 1]):
                child = T.children[c]
                waits[child] -= 1
                if not waits[child]:
                    ready[waiting] = child
                    waiting += 1
        flights = kept
    return begin, end, order
