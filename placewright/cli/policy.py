"""placewright policy: which rules there are, whether they are well written, what they say of a server, and which of them Nova can enforce itself."""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from optimizer.cluster import Cluster, Server, ServerGroup
from optimizer.constraints.base import check
from optimizer.errors import PlacewrightError
from optimizer.objectives.base import Breaches
from optimizer.objectives.crowded import Crowded
from optimizer.objectives.scattering import Scattering
from optimizer.placement import placement_of
from placewright.audit import nova_rules
from placewright.cli.common import Rows, UsageError, add_policies, add_source, config, console, policies_of, source_of
from placewright.export import write
from placewright.policies import Rules, read_policies
from placewright.sources import CloudSource, SnapshotSource
from policy_sources.base import Rule, policy_of
from policy_sources.nova_export import Export, changes, exports, leftovers
from policy_sources.vocabulary.base import Policy, Statement
from policy_sources.vocabulary.selectors import Catalog, Hosts, Servers
from strategies.base import Parameters

NOBODY = Cluster(name="nobody", taken_at="", hosts=())


class _OfRules(Rows):
    """A command about a cluster and the rules of all sources for it."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Options."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        add_source(parser)
        add_policies(parser)
        return parser

    def read(self, options: argparse.Namespace, source: CloudSource | SnapshotSource) -> tuple[Cluster, Rules]:
        """The cluster and the rules of the options and settings."""
        conf = config(self)
        policies = policies_of([*conf.policy.sources, *options.policy], source, conf)
        cluster = source.cluster()
        return cluster, read_policies(policies, cluster, lambda text: None)


class PolicyList(_OfRules):
    """List the rules of all sources: what they demand, of whom, and whether they hold."""

    def take_action(self, options: argparse.Namespace) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """A row for each rule; what else the sources said on stderr."""
        out = console(self)
        cluster, rules = self.read(options, source_of(options, config(self)))
        for one in rules.sets:
            revision = f", revision {one.revision}" if one.revision else ""
            out.print(f"{one.source}: {len(one.rules)} rules, read at {one.read_at}{revision}", soft_wrap=True)
        for note in rules.notes:
            out.print(f"note: {note}", soft_wrap=True)
        catalog = Catalog(cluster)
        return ("Source", "Where", "Rule", "Weight", "Servers", "Hosts", "Broken", "Why"), [
            *(_group_row(cluster, group) for group in cluster.groups), *(_row(catalog, rule) for rule in rules.rules)]


class PolicyCheck(Rows):
    """Check that rules can be read and understood, all faults at once; with a cluster also whom they select."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Options."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("policy", metavar="SOURCE", nargs="+", help="A source of rules, such as file:rules.yaml (see --policy of audit run).")
        add_source(parser, required=False)
        return parser

    def take_action(self, options: argparse.Namespace) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """A row for each source; faults end the command with exit code 1."""
        conf, out = config(self), console(self)
        source = source_of(options, conf) if options.cloud is not None or options.snapshot is not None else None
        policies = policies_of(options.policy, source, conf, remember=source is not None)
        cluster = NOBODY if source is None else source.cluster()
        faults, found = list[str](), list[tuple[Any, ...]]()
        for policy in policies:
            try:
                rules = read_policies([policy], cluster, lambda text: None)
            except PlacewrightError as error:
                faults.append(str(error))
                continue
            kinds = sorted({rule.says.rule for rule in rules.rules})
            found.append((policy.name, len(rules.rules), ", ".join(kinds), rules.sets[0].revision))
            for note in rules.sets[0].notes if source is None else rules.notes:
                out.print(f"note: {note}", soft_wrap=True)
        if faults:
            raise PlacewrightError("\n".join(faults))
        return ("Source", "Rules", "Kinds", "Revision"), found


class PolicyExplain(_OfRules):
    """Explain what rules say of a server: all that speak of it, or with --host whether it may go there, which rule says no and who wrote it."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Options."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("server", metavar="SERVER", help="Name or UUID of the server.")
        parser.add_argument("--host", metavar="HOST", help="Name of a host it might go to.")
        return parser

    def take_action(self, options: argparse.Namespace) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """A row for each rule that speaks of the server, or that its arrival on the host would break; the answer in words on stderr."""
        out = console(self)
        cluster, rules = self.read(options, source_of(options, config(self)))
        server = _server(cluster, options.server)
        if options.host is None:
            out.print(f"{server.name} ({server.id}) is on {server.host}", soft_wrap=True)
            catalog = Catalog(cluster)
            return ("Source", "Where", "Rule", "Weight", "Holds", "Why"), [
                (rule.origin.source, rule.origin.where, rule.says.rule, _weight(rule),
                 "no" if _broken(cluster, policy_of(catalog, [rule])) else "yes", rule.says.why)
                for rule in rules.rules if _speaks_of(catalog, rule.says, server)]
        if options.host not in cluster.host_by_name:
            raise PlacewrightError(f"there is no host {options.host!r}; placewright cluster show lists them")
        against = list(_against(cluster, rules, server, options.host))
        if server.host == options.host:
            out.print(f"{server.name} is on {options.host} now", soft_wrap=True)
        elif any(weight == "must" for _, _, weight, _ in against):
            out.print(f"{server.name} may not go to {options.host}", soft_wrap=True)
        else:
            out.print(f"{server.name} may go to {options.host}" + (", against what should be" if against else ""), soft_wrap=True)
        return ("Rule", "Who says so", "Weight", "Text"), against


class PolicyExport(_OfRules):
    """Tell Nova the rules that its own scheduler can enforce, and say of the others why it cannot; without --apply nothing is changed."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Options."""
        parser = super().get_parser(prog_name)
        parser.add_argument("--to", metavar="nova", choices=["nova"], required=True, help="Whom to tell; nova is the only one yet.")
        parser.add_argument("--apply", action="store_true", help="Change Nova; without it only what would be changed is shown.")
        return parser

    def take_action(self, options: argparse.Namespace) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """A row for each rule; the sums, and what is left over from earlier rules, on stderr."""
        if options.apply and options.cloud is None:
            raise UsageError("--apply changes Nova, and a snapshot is only a file: give --cloud instead of --snapshot")
        out, source = console(self), source_of(options, config(self))
        cluster, rules = self.read(options, source)
        found = exports(Catalog(cluster), rules.rules)
        todo = changes(found)
        if options.apply and isinstance(source, CloudSource):
            write(source, cluster, todo, lambda text: out.print(text, soft_wrap=True))
        for note in (*rules.notes, *leftovers(cluster, found)):
            out.print(f"note: {note}", soft_wrap=True)
        out.print(_sums(found, len(todo), options.apply), soft_wrap=True)
        return ("Source", "Where", "Rule", "Export", "Nova"), [
            (one.rule.origin.source, one.rule.origin.where, one.rule.says.rule, "written" if one.state == "write" and options.apply else one.state,
             one.text) for one in found]


def _sums(found: Sequence[Export], todo: int, applied: bool) -> str:
    """How it stands with the rules, and what to do next."""
    count = Counter(one.state for one in found)
    there = f"of {len(found)} rules Nova enforces {count['there']} already and cannot enforce {count['no']}"
    if not todo:
        return f"{there}; nothing is to be changed"
    if applied:
        return f"{there}; {count['write']} are written, with {todo} changes"
    return f"{there}; {count['write']} can be written, with {todo} changes that --apply makes"


def _server(cluster: Cluster, name: str) -> Server:
    """The server of a name or id; raises PlacewrightError where there is none or several."""
    found = [server for server in cluster.servers if name in (server.id, server.name)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise PlacewrightError(f"there is no server {name!r} in {cluster.name}")
    raise PlacewrightError(f"{len(found)} servers are called {name!r}; name one by its UUID: {', '.join(server.id for server in found[:10])}")


def _group_row(cluster: Cluster, group: ServerGroup) -> tuple[Any, ...]:
    """A server group of Nova's; what is soft there is never made worse here."""
    apart = group.policy.endswith("anti-affinity")
    breaches = Crowded(group.members, group.max_server_per_host) if apart else Scattering(group.members, {}, at_most=1)
    return ("nova", f"server group {group.name}", group.policy, "never worse" if group.policy.startswith("soft") else "must", str(len(group.members)),
            "", breaches.value(cluster, placement_of(cluster)), "")


def _row(catalog: Catalog, rule: Rule) -> tuple[Any, ...]:
    says = rule.says
    servers = [len(catalog.servers(one)) for one in _selectors(says) if isinstance(one, Servers)]
    hosts = [len(catalog.hosts(one)) for one in _selectors(says) if isinstance(one, Hosts)]
    broken = _broken(catalog.cluster, policy_of(catalog, [rule]))
    return (rule.origin.source, rule.origin.where, says.rule, _weight(rule), "+".join(map(str, servers)), "+".join(map(str, hosts)),
            round(broken, 3), says.why)


def _selectors(says: Statement) -> list[Any]:
    """Its selectors of servers and hosts; other keys select nobody."""
    return [value for name in type(says).model_fields if isinstance(value := getattr(says, name), Servers | Hosts)]


def _weight(rule: Rule) -> str:
    return "must" if rule.says.should is None else f"{rule.says.should:g}"


def _broken(cluster: Cluster, policy: Policy) -> float:
    """How many breaches there are now, whatever they weigh."""
    here = placement_of(cluster)
    return sum(term.objective.value(cluster, here) for term in (*policy.broken, *policy.wishes))


def _speaks_of(catalog: Catalog, says: Statement, server: Server) -> bool:
    """Whether a statement has anything to do with a server where it is now."""
    return any(server.id in catalog.servers(one) if isinstance(one, Servers) else says.of_hosts and server.host in catalog.hosts(one)
               for one in _selectors(says))


def _against(cluster: Cluster, rules: Rules, server: Server, host: str) -> Iterator[tuple[str, str, str, str]]:
    """What stands against a server on a host: rules that its arrival breaks, and wishes."""
    there = {**placement_of(cluster), server.id: host}
    for found in check([*nova_rules(cluster, Parameters.model_validate({}), rules.policy), *rules.policy.constraints], cluster, there):
        if not found.inherited:
            yield found.rule, found.origin or "Nova", "must", found.text
    here = placement_of(cluster)
    for term in rules.policy.wishes:
        more = term.objective.value(cluster, there) - term.objective.value(cluster, here)
        if more > 0:
            who = term.objective.origin if isinstance(term.objective, Breaches) else ""
            yield term.objective.name, who, f"{term.weight * more:g}", "one more breach of what should be"
