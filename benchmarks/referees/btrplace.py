#!/usr/bin/env python3
"""Check an ordered reconfiguration plan against a BtrPlace TDSC instance.

    python btrplace.py INSTANCE                 facts of the instance, as JSON
    python btrplace.py INSTANCE PLAN            validity of the plan, as JSON

INSTANCE is a BtrPlace JSON instance (.gz read too).  PLAN is JSON:
    [[[vm, node], [vm, node], ...], [...], ...]     a list of waves; the moves of a wave run together

Rules checked
  while a wave runs  a moving VM holds its source (present demand) and its target (final demand)
                     at once; a VM that is started holds its target; no node may exceed its capacity
  final demand       max(present demand, amount of its "preserve" constraints), per resource;
                     a VM that stays put takes its final demand after the last wave
  spread (continuous)  no two VMs of the set on one node, source and target of a running move included
  among (continuous)   the running VMs of the set inside one of the node groups, always
  running            the VM runs at the end          online/offline   the node keeps that state
  (non-continuous spread/among are checked at the end only)

Exit status: 0 valid, 1 not valid, 2 a file cannot be read.  Standard library only.
"""
import argparse
import gzip
import json
import sys
from collections import Counter, defaultdict


def _load(path):
    with (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="utf-8") as fh:
        return json.load(fh)


class Instance:
    def __init__(self, doc):
        mapping = doc["model"]["mapping"]
        self.online = {int(n) for n in mapping["onlineNodes"]}
        self.offline = {int(n) for n in mapping["offlineNodes"]}
        self.ready = {int(v) for v in mapping["readyVMs"]}
        self.host = {int(v): int(n) for n, s in mapping["onlineNodes"].items() for v in s["runningVMs"]}
        self.rc, self.cap, self.now = [], {}, {}
        for view in doc["model"]["views"]:
            if "rcId" in view:
                r = view["rcId"]
                self.rc.append(r)
                self.cap[r] = defaultdict(lambda d=view["defCapacity"]: d,
                                          {int(k): x for k, x in view["nodes"].items()})
                self.now[r] = defaultdict(lambda d=view["defConsumption"]: d,
                                          {int(k): x for k, x in view["vms"].items()})
        self.want = {r: {} for r in self.rc}
        self.spread, self.among, self.must_run, self.must_on, self.must_off = [], [], set(), set(), set()
        self.other = Counter()
        for c in doc["constraints"]:
            kind = c["id"]
            if kind == "preserve":
                w = self.want[c["rc"]]
                w[c["vm"]] = max(w.get(c["vm"], 0), c["amount"])
            elif kind == "spread":
                self.spread.append((tuple(c["vms"]), bool(c["continuous"])))
            elif kind == "among":
                self.among.append((tuple(c["vms"]), [frozenset(p) for p in c["parts"]], bool(c["continuous"])))
            elif kind == "running":
                self.must_run.add(c["vm"])
            elif kind == "online":
                self.must_on.add(c["node"])
            elif kind == "offline":
                self.must_off.add(c["node"])
            else:
                self.other[kind] += 1

    def final(self, r, vm):
        return max(self.now[r][vm], self.want[r].get(vm, 0))

    def load(self, demand):
        return {r: self._sum(r, demand) for r in self.rc}

    def _sum(self, r, demand):
        out = Counter()
        for vm, n in self.host.items():
            out[n] += demand(r, vm)
        return out

    def over(self, load):
        return sum(1 for r in self.rc for n, x in load[r].items() if x > self.cap[r][n])

    def facts(self):
        end = self.load(self.final)
        bad = {n for r in self.rc for n, x in end[r].items() if x > self.cap[r][n]}
        return {"nodes_online": len(self.online), "nodes_offline": len(self.offline),
                "vms_running": len(self.host), "vms_to_start": len(self.must_run & self.ready),
                "resources": {r: {"used": round(sum(self.now[r][v] for v in self.host) /
                                                sum(self.cap[r][n] for n in self.online), 4),
                                  "wanted": round(sum(self.final(r, v) for v in set(self.host) | self.must_run) /
                                                  sum(self.cap[r][n] for n in self.online), 4)}
                              for r in self.rc},
                "preserve": sum(len(w) for w in self.want.values()), "spread": len(self.spread),
                "among": len(self.among), "nodes_overloaded_if_nothing_moves": len(bad),
                "unsupported_constraints": dict(self.other)}


def check(inst, waves):
    bad = Counter()
    first = {}

    def fail(kind, wave, detail):
        bad[kind] += 1
        first.setdefault(kind, f"wave {wave}: {detail}")

    load = inst.load(lambda r, v: inst.now[r][v])
    arrived = set()
    in_spread = defaultdict(list)
    for k, (vms, cont) in enumerate(inst.spread):
        for v in vms:
            in_spread[v].append(k)
    in_among = defaultdict(list)
    for k, (vms, parts, cont) in enumerate(inst.among):
        for v in vms:
            in_among[v].append(k)
    occ = [Counter() for _ in inst.spread]          # node -> VMs of the set there
    for k, (vms, _) in enumerate(inst.spread):
        for v in vms:
            if v in inst.host:
                occ[k][inst.host[v]] += 1
    migrations = boots = 0
    mem = "memory" if "memory" in inst.rc else None
    moved_mem = 0

    def part_ok(k):
        vms, parts, _ = inst.among[k]
        used = {inst.host[v] for v in vms if v in inst.host}
        return any(used <= p for p in parts)

    for w, wave in enumerate(waves):
        seen, leaving = set(), []
        for vm, dst in wave:
            if vm in seen:
                fail("vm twice in a wave", w, vm)
                continue
            seen.add(vm)
            src = inst.host.get(vm)
            if src is None and vm not in inst.ready:
                fail("unknown vm", w, vm)
                continue
            if dst not in inst.online:
                fail("target not online", w, dst)
                continue
            if src == dst:
                fail("no-op", w, vm)
                continue
            for r in inst.rc:
                load[r][dst] += inst.final(r, vm)
            for k in in_spread[vm]:
                occ[k][dst] += 1
                if inst.spread[k][1] and occ[k][dst] > 1:
                    fail("spread", w, f"vm {vm} on node {dst}")
            leaving.append((vm, src, dst))
        for r in inst.rc:
            for vm, src, dst in leaving:
                if load[r][dst] > inst.cap[r][dst]:
                    fail("capacity during plan", w, f"{r} of node {dst}")
        for vm, src, dst in leaving:
            if src is None:
                boots += 1
                inst.ready.discard(vm)
            else:
                migrations += 1
                moved_mem += inst.now[mem][vm] if mem else 0
                for r in inst.rc:
                    load[r][src] -= inst.final(r, vm) if vm in arrived else inst.now[r][vm]
                for k in in_spread[vm]:
                    occ[k][src] -= 1
            inst.host[vm] = dst
            arrived.add(vm)
        for k in {k for vm, _, _ in leaving for k in in_among[vm]}:
            if inst.among[k][2] and not part_ok(k):
                fail("among", w, f"set {k}")
    end = inst.load(inst.final)
    bad["capacity at end"] += inst.over(end)
    for k, (vms, cont) in enumerate(inst.spread):
        here = Counter(inst.host[v] for v in vms if v in inst.host)
        bad["spread at end"] += any(x > 1 for x in here.values())
    bad["among at end"] += sum(not part_ok(k) for k in range(len(inst.among)))
    bad["not running"] += sum(1 for v in inst.must_run if v not in inst.host)
    bad["node state"] += len(inst.must_on - inst.online) + len(inst.must_off - inst.offline)
    bad = {k: v for k, v in bad.items() if v}
    return {"valid": not bad and not inst.other, "waves": len(waves), "migrations": migrations,
            "boots": boots, "memory_moved": moved_mem, "violations": bad, "first": first,
            "unsupported_constraints": dict(inst.other)}


def main(argv=None):
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("instance")
    ap.add_argument("plan", nargs="?")
    a = ap.parse_args(argv)
    try:
        inst = Instance(_load(a.instance))
        waves = [[(int(v), int(n)) for v, n in wave] for wave in _load(a.plan)] if a.plan else None
    except (OSError, ValueError, KeyError, TypeError, EOFError) as exc:
        print(json.dumps({"error": f"{type(exc).__name__}: {exc}"}))
        return 2
    if waves is None:
        print(json.dumps(inst.facts(), indent=1))
        return 0
    out = check(inst, waves)
    print(json.dumps(out, indent=1))
    return 0 if out["valid"] else 1


if __name__ == "__main__":
    sys.exit(main())
