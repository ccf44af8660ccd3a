#!/usr/bin/env python3
"""Cost and constraint check for the ROADEF/EURO 2012 machine reassignment problem.

    python roadef.py MODEL INITIAL NEW          cost breakdown and violations, as JSON
    python roadef.py MODEL INITIAL --dims       sizes of the instance and an aggregate lower bound

MODEL, INITIAL and NEW are the challenge's own text formats; .gz, .xz and .bz2 are read too.
INITIAL is trusted (the challenge says it is feasible); NEW is checked against every hard
constraint.  All arithmetic is integer (int64), so costs are exact.

Exit status: 0 NEW is feasible, 1 NEW breaks a constraint, 2 a file cannot be read.

Written from the published problem definition ("Google ROADEF/EURO challenge 2011-2012:
Machine reassignment", version 1), sections 1.2, 1.3 and 2.1.  Needs numpy only.
"""
import argparse
import bz2
import gzip
import json
import lzma
import sys

import numpy as np


def _read_ints(path):
    opener = {"gz": gzip.open, "xz": lzma.open, "bz2": bz2.open}.get(path.rsplit(".", 1)[-1], open)
    with opener(path, "rb") as fh:
        return np.array(fh.read().split(), dtype=np.int64)


class Model:
    """Everything a solver needs, as numpy arrays (attribute names follow the definition)."""

    def __init__(self, path):
        v = _read_ints(path)
        i = 0
        self.nr = int(v[i]); i += 1
        rr = v[i:i + 2 * self.nr].reshape(self.nr, 2); i += 2 * self.nr
        self.transient = rr[:, 0].astype(bool)
        self.w_load = rr[:, 1].copy()
        self.nm = int(v[i]); i += 1
        width = 2 + 2 * self.nr + self.nm
        block = v[i:i + self.nm * width].reshape(self.nm, width); i += self.nm * width
        self.neighborhood = block[:, 0].copy()
        self.location = block[:, 1].copy()
        self.C = block[:, 2:2 + self.nr].copy()
        self.SC = block[:, 2 + self.nr:2 + 2 * self.nr].copy()
        self.MMC = block[:, 2 + 2 * self.nr:].copy()
        self.ns = int(v[i]); i += 1
        self.spread_min = np.zeros(self.ns, np.int64)
        deps = []
        for s in range(self.ns):
            self.spread_min[s] = v[i]
            k = int(v[i + 1])
            for d in v[i + 2:i + 2 + k]:
                deps.append((s, int(d)))
            i += 2 + k
        self.deps = np.array(deps, np.int64).reshape(-1, 2)     # (service, needs service)
        self.np_ = int(v[i]); i += 1
        block = v[i:i + self.np_ * (self.nr + 2)].reshape(self.np_, self.nr + 2)
        i += self.np_ * (self.nr + 2)
        self.service = block[:, 0].copy()
        self.R = block[:, 1:1 + self.nr].copy()
        self.PMC = block[:, -1].copy()
        self.nb = int(v[i]); i += 1
        b = v[i:i + 4 * self.nb].reshape(self.nb, 4); i += 4 * self.nb
        self.bal_r1, self.bal_r2, self.bal_target, self.w_bal = (b[:, k].copy() for k in range(4))
        self.w_pmc, self.w_smc, self.w_mmc = (int(x) for x in v[i:i + 3]); i += 3
        if i != len(v):
            raise ValueError(f"{len(v) - i} values left over after the model")
        self.nn = int(self.neighborhood.max()) + 1
        self.nl = int(self.location.max()) + 1

    def usage(self, assign):
        U = np.zeros((self.nm, self.nr), np.int64)
        np.add.at(U, assign, self.R)
        return U

    def cost(self, m0, m):
        U = self.usage(m)
        load = np.maximum(0, U - self.SC).sum(axis=0)
        A = self.C - U
        bal = np.array([np.maximum(0, t * A[:, a] - A[:, b]).sum()
                        for a, b, t in zip(self.bal_r1, self.bal_r2, self.bal_target)], np.int64)
        moved = m != m0
        pmc = int(self.PMC[moved].sum())
        smc = int(np.bincount(self.service[moved], minlength=1).max()) if moved.any() else 0
        mmc = int(self.MMC[m0, m].sum())
        out = {
            "load": int((self.w_load * load).sum()),
            "balance": int((self.w_bal * bal).sum()) if self.nb else 0,
            "process_move": self.w_pmc * pmc,
            "service_move": self.w_smc * smc,
            "machine_move": self.w_mmc * mmc,
        }
        out["total"] = sum(out.values())
        out["moved"] = int(moved.sum())
        return out

    def violations(self, m0, m):
        """Count of broken constraints per family (0 everywhere = feasible)."""
        U = self.usage(m)
        out = {"capacity": int((U > self.C).sum())}
        moved = m != m0
        extra = np.zeros((self.nm, self.nr), np.int64)
        np.add.at(extra, m0[moved], self.R[moved])
        t = self.transient
        out["transient"] = int(((U + extra)[:, t] > self.C[:, t]).sum())
        pair = np.unique(self.service * self.nm + m, return_counts=True)[1]
        out["conflict"] = int((pair > 1).sum())
        key = np.unique(self.service * self.nl + self.location[m])
        locs = np.bincount(key // self.nl, minlength=self.ns)
        out["spread"] = int((locs < self.spread_min).sum())
        present = np.zeros((self.ns, self.nn), bool)
        present[self.service, self.neighborhood[m]] = True
        bad = 0
        if len(self.deps):
            bad = int((present[self.deps[:, 0]] & ~present[self.deps[:, 1]]).any(axis=1).sum())
        out["dependency"] = bad
        return out

    def lower_bound(self):
        """Aggregate bound: every machine pooled into one.  Valid for any assignment."""
        total = self.R.sum(axis=0)
        lb = int((self.w_load * np.maximum(0, total - self.SC.sum(axis=0))).sum())
        A = self.C.sum(axis=0) - total
        for a, b, t, w in zip(self.bal_r1, self.bal_r2, self.bal_target, self.w_bal):
            lb += int(w * max(0, t * A[a] - A[b]))
        return lb

    def dims(self):
        return {"machines": self.nm, "processes": self.np_, "resources": self.nr,
                "transient_resources": int(self.transient.sum()), "services": self.ns,
                "locations": self.nl, "neighborhoods": self.nn, "dependencies": int(len(self.deps)),
                "balances": self.nb, "weights": [self.w_pmc, self.w_smc, self.w_mmc]}


def read_assignment(path, model):
    a = _read_ints(path)
    if len(a) != model.np_:
        raise ValueError(f"{path}: {len(a)} values, {model.np_} processes")
    if len(a) and (a.min() < 0 or a.max() >= model.nm):
        raise ValueError(f"{path}: machine index out of range")
    return a


def main(argv=None):
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("model")
    ap.add_argument("initial")
    ap.add_argument("new", nargs="?")
    ap.add_argument("--dims", action="store_true")
    a = ap.parse_args(argv)
    try:
        model = Model(a.model)
        m0 = read_assignment(a.initial, model)
        m = read_assignment(a.new or a.initial, model)
    except (OSError, ValueError, IndexError, EOFError) as exc:
        print(json.dumps({"error": str(exc)}))
        return 2
    if a.dims:
        out = model.dims()
        out["lower_bound"] = model.lower_bound()
        out["initial_cost"] = model.cost(m0, m0)["total"]
        out["initial_violations"] = sum(model.violations(m0, m0).values())
        print(json.dumps(out))
        return 0
    bad = model.violations(m0, m)
    feasible = not any(bad.values())
    print(json.dumps({"feasible": feasible, "cost": model.cost(m0, m), "violations": bad,
                      "initial_cost": model.cost(m0, m0)["total"]}, indent=1))
    return 0 if feasible else 1


if __name__ == "__main__":
    sys.exit(main())
