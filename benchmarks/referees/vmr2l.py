#!/usr/bin/env python3
"""Fragment rate and validity of a VM rescheduling plan, VMR2L data format (ByteDance).

    python vmr2l.py CASE                      fragment rate and sizes of a snapshot, as JSON
    python vmr2l.py CASE MOVES [--mnl N]      apply MOVES in order; before/after and validity
        --core X          fragment rate for X-core single-NUMA VMs (default 16, the published one)
        --same-cluster    forbid moves between the clusters of a snapshot (the published
                          baselines allow them, so the default does too)

CASE is the snapshot JSON (cluster_list / vm_type_list / ...); .gz and .xz are read too.
MOVES is JSON, a list of [vm, dst] or [vm, dst, numa] or {"vm":..,"dst":..,"numa":..}, in the
order in which the moves are carried out; numa is 0 or 1 for a single-NUMA VM and is ignored
for a VM that spans both.  Without numa the first NUMA node (0, then 1) with room is taken.

What is measured (as in the published environment and MIP baseline):
  free(k)   = total CPU of NUMA node k - CPU of the listed VMs on it  (the snapshot's own
              free_cpu field is not used: it disagrees on some nodes)
  FR(X)     = sum_k free(k) mod X / sum_k free(k)
  A move is valid when, at its turn, the target has the CPU and memory the VM needs while the VM
  still holds its source.  A change of NUMA node within one host counts as a migration.

Exit status: 0 plan valid, 1 plan invalid (or over --mnl), 2 a file cannot be read.
Standard library only.
"""
import argparse
import gzip
import json
import lzma
import sys


def _load(path):
    opener = {"gz": gzip.open, "xz": lzma.open}.get(path.rsplit(".", 1)[-1], open)
    with opener(path, "rt", encoding="utf-8") as fh:
        return json.load(fh)


class Snapshot:
    def __init__(self, doc):
        self.cpu, self.mem, self.total, self.cluster = {}, {}, {}, {}
        self.active = set()
        self.vms = {}
        for c in doc["cluster_list"]:
            for h in c["host_info"]:
                pm = h["node_id"]
                if h["status"] == "ACTIVE":
                    self.active.add(pm)
                self.cluster[pm] = c["cluster_name"]
                nodes = sorted(h["numa"], key=lambda n: n["node"])
                self.cpu[pm] = [float(n["total_cpu"]) for n in nodes]
                self.mem[pm] = [float(n["memory_huge_total_mb"]) for n in nodes]
                self.total[pm] = sum(self.cpu[pm])
        for c in doc["cluster_list"]:
            for v in c["vm_instance"]:
                need = {n["node"]: (float(n["cpu"]), float(n["mem_mb"])) for n in v["numa"]}
                self.vms[v["instance_id"]] = {"pm": v["host_id"], "need": need,
                                              "movable": bool(v["allow_migration"])}
                for k, (cpu, mem) in need.items():
                    self.cpu[v["host_id"]][k] -= cpu
                    self.mem[v["host_id"]][k] -= mem

    def fragment_rate(self, core=16):
        free = sum(x for pm in self.active for x in self.cpu[pm])
        frag = sum(x % core for pm in self.active for x in self.cpu[pm])
        return frag / free if free else 0.0

    def facts(self, core=16):
        free = sum(x for pm in self.active for x in self.cpu[pm])
        total = sum(self.total[pm] for pm in self.active)
        slots = sum(int(x // core) for pm in self.active for x in self.cpu[pm])
        used = {v["pm"] for v in self.vms.values()}
        neg = sum(1 for pm in self.cpu for k in range(len(self.cpu[pm]))
                  if self.cpu[pm][k] < 0 or self.mem[pm][k] < 0)
        return {"pms": len(self.cpu), "vms": len(self.vms), "clusters": len(set(self.cluster.values())),
                "cpu_free": free, "cpu_utilisation": round(1 - free / total, 6),
                "empty_pms": len(self.cpu) - len(used), "overfull_numa_nodes": neg,
                f"slots_{core}": slots, f"fr_{core}": self.fragment_rate(core),
                f"fr_{core}_floor": (free - core * int(free // core)) / free if free else 0.0}

    def move(self, vm, dst, numa=None, same_cluster=False):
        """Carry out one move; returns None, or why it is impossible (state unchanged)."""
        v = self.vms.get(vm)
        if v is None:
            return "unknown vm"
        if dst not in self.cpu:
            return "unknown host"
        if dst not in self.active or v["pm"] not in self.active:
            return "host not active"
        if not v["movable"]:
            return "vm may not migrate"
        src = v["pm"]
        if same_cluster and self.cluster[src] != self.cluster[dst]:
            return "crosses clusters"
        if len(v["need"]) > 1:
            if dst == src:
                return "no-op"
            if set(v["need"]) - set(range(len(self.cpu[dst]))):
                return "target has too few NUMA nodes"
            new = dict(v["need"])
        else:
            (old, need), = v["need"].items()
            choices = [numa] if numa is not None else range(len(self.cpu[dst]))
            fit = [k for k in choices if 0 <= k < len(self.cpu[dst]) and not (dst == src and k == old)
                   and self.cpu[dst][k] >= need[0] and self.mem[dst][k] >= need[1]]
            if not fit:
                return "no room"
            new = {fit[0]: need}
        for k, (cpu, mem) in new.items():
            if self.cpu[dst][k] < cpu or self.mem[dst][k] < mem:
                return "no room"
        for k, (cpu, mem) in v["need"].items():
            self.cpu[src][k] += cpu
            self.mem[src][k] += mem
        for k, (cpu, mem) in new.items():
            self.cpu[dst][k] -= cpu
            self.mem[dst][k] -= mem
        v["pm"], v["need"] = dst, new
        return None


def main(argv=None):
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("case")
    ap.add_argument("moves", nargs="?")
    ap.add_argument("--mnl", type=int)
    ap.add_argument("--core", type=int, default=16)
    ap.add_argument("--same-cluster", action="store_true")
    a = ap.parse_args(argv)
    try:
        snap = Snapshot(_load(a.case))
        moves = _load(a.moves) if a.moves else []
        plan = []
        for mv in moves:
            if isinstance(mv, dict):
                plan.append((mv["vm"], mv["dst"], mv.get("numa")))
            else:
                plan.append((mv[0], mv[1], mv[2] if len(mv) > 2 else None))
    except (OSError, ValueError, KeyError, IndexError, TypeError, EOFError, lzma.LZMAError) as exc:
        print(json.dumps({"error": f"{type(exc).__name__}: {exc}"}))
        return 2
    before = snap.facts(a.core)
    if not a.moves:
        print(json.dumps(before, indent=1))
        return 0
    bad = []
    for i, (vm, dst, numa) in enumerate(plan):
        why = snap.move(vm, dst, numa, a.same_cluster)
        if why:
            bad.append({"step": i, "vm": vm, "dst": dst, "why": why})
    over = a.mnl is not None and len(plan) > a.mnl
    after = snap.facts(a.core)
    print(json.dumps({"valid": not bad and not over, "migrations": len(plan), "over_limit": over,
                      "fr_before": before[f"fr_{a.core}"], "fr_after": after[f"fr_{a.core}"],
                      "slots_before": before[f"slots_{a.core}"], "slots_after": after[f"slots_{a.core}"],
                      "empty_pms_before": before["empty_pms"], "empty_pms_after": after["empty_pms"],
                      "invalid_moves": bad[:20], "invalid_count": len(bad)}, indent=1))
    return 0 if not bad and not over else 1


if __name__ == "__main__":
    sys.exit(main())
