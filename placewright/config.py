"""Settings of a site (oslo.config): how metrics are called, how fast migrations are, how many may run at once."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from oslo_config import cfg, types

from datasources.gnocchi import GnocchiSettings
from migrate.duration import TimeModel
from migrate.limits import Limits
from migrate.nova import TIMEOUT_S
from optimizer.errors import PlacewrightError
from policy_sources.http import HttpSettings
from policy_sources.marks import MarksSettings

_GNOCCHI, _TIME, _LIMITS, _HTTP, _MARKS = GnocchiSettings(), TimeModel(), Limits(), HttpSettings(), MarksSettings()

OPTIONS: dict[str, list[cfg.Opt]] = {
    "gnocchi": [
        cfg.StrOpt("resource_type", default=_GNOCCHI.resource_type, help="Resource type of servers."),
        cfg.StrOpt("cpu_metric", default=_GNOCCHI.cpu, help="Metric of cumulative CPU time, in nanoseconds."),
        cfg.StrOpt("cpu_aggregation", default=_GNOCCHI.cpu_aggregation, help="Aggregation of the CPU metric that gives its rate."),
        cfg.FloatOpt("cpu_interval", min=0.001, help="Seconds between two measures of the CPU metric, since Gnocchi's rate is per measure. "
                                                     "Unset: the same as the granularity, as with Ceilometer's own policies."),
        cfg.StrOpt("memory_metric", default=_GNOCCHI.memory, help="Metric of used memory, in MiB."),
        cfg.StrOpt("memory_aggregation", default=_GNOCCHI.memory_aggregation, help="Aggregation of the memory metric."),
        cfg.FloatOpt("timeout", default=_GNOCCHI.timeout_s, min=1, help="Seconds to wait for an answer of Gnocchi."),
    ],
    "nova": [
        cfg.FloatOpt("timeout", default=TIMEOUT_S, min=0.1,
                     help="Seconds to wait for an answer of Nova while a plan is carried out; a request without one is looked for in Nova's records "
                          "before it is sent again."),
    ],
    "database": [
        cfg.StrOpt("connection", secret=True, sample_default="sqlite:///~/.local/state/placewright/placewright.db",
                   help="Address of the database where executions of plans are kept: sqlite, postgresql or mysql. Unset: a file in the folder "
                        "for the state of the user's programs ($XDG_STATE_HOME)."),
    ],
    "execution": [
        cfg.IntOpt("parallel_total", default=_LIMITS.total, min=1, help="Migrations that run at the same time in the whole cloud."),
        cfg.IntOpt("parallel_per_host", default=_LIMITS.per_host, min=1,
                   help="Migrations that run at the same time from or to one host. Nova itself queues live migrations beyond "
                        "max_concurrent_live_migrations (1 by default) of the source."),
        cfg.IntOpt("parallel_out_of_host", min=1, help="Migrations that run at the same time from one host. Unset: no limit of its own."),
        cfg.IntOpt("parallel_into_host", min=1, help="Migrations that run at the same time to one host. Unset: no limit of its own."),
        cfg.Opt("parallel_in_aggregate", type=types.Dict(types.Integer(min=1)), sample_default="unset", default={},
                help="Migrations that run at the same time from, to or between the hosts of an aggregate, by its name: rack-1:4,rack-2:2."),
        cfg.FloatOpt("poll_interval", default=_LIMITS.poll_interval_s, min=0.1, help="Seconds between two looks at running migrations."),
        cfg.FloatOpt("action_timeout", default=_LIMITS.action_timeout_s, min=1,
                     help="Seconds after which a migration is given up; at least four times what it is expected to take."),
        cfg.FloatOpt("stall_timeout", default=_LIMITS.stall_timeout_s, min=1,
                     help="Seconds after which a live migration that has come no nearer to its end is stalled."),
        cfg.StrOpt("on_stall", default=_LIMITS.on_stall, choices=["abort", "force_complete", "wait"],
                   help="What is done with a stalled live migration: it is aborted, forced to complete (Nova pauses the server, or switches to "
                        "post-copy where that is permitted), or awaited until action_timeout."),
        cfg.StrOpt("on_interrupt", default=_LIMITS.on_interrupt, choices=["wait", "abort"],
                   help="What is done with live migrations that run when the execution is interrupted (Ctrl-C, SIGTERM): they are awaited or "
                        "aborted. Cold ones cannot be aborted."),
        cfg.FloatOpt("undo_below", default=80, min=0, max=100,
                     help="Percent of what a plan promised; where less was reached, plan apply says so, and how it is taken back."),
        cfg.FloatOpt("plan_max_age", default=86400, min=1, help="Seconds after which a plan is too old to be applied."),
        cfg.BoolOpt("replan", default=True, help="What could not go as planned is planned again, once, for the same servers and under the same "
                                                 "rules."),
    ],
    "time_model": [
        cfg.FloatOpt("bandwidth_mb_per_s", default=_TIME.bandwidth_mb_per_s, min=0.1, help="MiB/s that one migration gets between two hosts."),
        cfg.FloatOpt("host_bandwidth_mb_per_s", min=0.1,
                     help="MiB/s that all migrations from and to a host get together, no less than one of them alone; unset: as "
                          "much as one of them alone."),
        cfg.FloatOpt("dirty_mb_per_core_s", default=_TIME.dirty_mb_per_core_s, min=0,
                     help="MiB/s that a busy core of a server writes to its memory. Busy cores are measured where a strategy reads the load, else "
                          "half of the flavor's vCPUs."),
        cfg.StrOpt("convergence", default=_TIME.convergence, choices=["none", "auto_converge", "post_copy"],
                   help="What nova.conf permits to live migrations that do not end: live_migration_permit_auto_converge, "
                        "live_migration_permit_post_copy (which goes before), or none of it."),
        cfg.FloatOpt("live_overhead", default=_TIME.live_overhead_s, min=0, help="Seconds a live migration takes besides copying."),
        cfg.FloatOpt("cold_overhead", default=_TIME.cold_overhead_s, min=0, help="Seconds a cold migration takes besides copying."),
        cfg.FloatOpt("learn_hours", default=24, min=0,
                     help="Hours of live migrations on record from which bandwidths and live_overhead are learned for a plan, and of the journal, "
                          "for what passes besides; 0: they are as set here."),
        cfg.IntOpt("live_per_source", default=_TIME.live_per_source, min=1,
                   help="Live migrations that one host sends at once, the others are queued there: Nova's max_concurrent_live_migrations."),
        cfg.BoolOpt("shared_storage", default=_TIME.shared_storage, help="Disks of servers lie on storage that all hosts share."),
    ],
    "policy": [
        cfg.MultiStrOpt("sources", default=[], help="Sources of rules, in the form of --policy; may be given several times."),
        cfg.StrOpt("on_failure", default="fail", choices=["fail", "last_good"],
                   help="When a source of rules fails: no plan, or a plan by the last good rules, with their age."),
        cfg.StrOpt("memory", help="Folder where good rules are remembered; it belongs to one cloud."),
        cfg.FloatOpt("max_age", default=86400, min=0, help="Seconds after which last good rules do not stand in for a source any more."),
        cfg.ListOpt("tenant_marks", default=sorted(_MARKS.tenant_marks), help="Marks that count when a tenant sets them on a server."),
        cfg.FloatOpt("tenant_weight", default=_MARKS.tenant_weight, help="Weight of what tenants ask for with marks."),
        cfg.ListOpt("ignored_flavors", default=[], help="Flavors of which no marks are looked at."),
        cfg.MultiStrOpt("vetoes", default=[], help="Policies that are asked whether they object to a plan, in the form of --veto; may be given "
                                                   "several times."),
        cfg.StrOpt("congress_url", help="Address of Congress; unset: that of the service type policy in the catalog."),
        cfg.StrOpt("congress_auth", default="keystone", choices=["keystone", "noauth"], help="How Congress is told who we are."),
        cfg.StrOpt("opa_url", default="http://127.0.0.1:8181", help="Address of the OPA server."),
        cfg.StrOpt("opa_token_file", help="File that holds the bearer token for OPA."),
        cfg.StrOpt("ca_file", default=_HTTP.ca_file, help="Certificates to trust of policy services, instead of the system's."),
        cfg.FloatOpt("timeout", default=_HTTP.timeout_s, min=0.1, help="Seconds to wait for an answer of a policy service, for each attempt."),
        cfg.IntOpt("attempts", default=_HTTP.attempts, min=1, help="How often a policy service is asked that does not answer."),
        cfg.FloatOpt("max_mb", default=_HTTP.max_mb, min=0.001, help="The largest answer of a policy service, in MiB."),
    ],
    "solver": [
        cfg.IntOpt("threads", default=os.cpu_count() or 1, min=1, sample_default="number of CPUs", help="Threads the solver may use."),
    ],
}


def load_config(files: Sequence[Path | str]) -> cfg.ConfigOpts:
    """Read config files; raises PlacewrightError that names the file, option and value at fault."""
    conf, named = cfg.ConfigOpts(), ", ".join(map(str, files))
    for group, options in OPTIONS.items():
        conf.register_opts(options, group=group)
    for name in files:
        if not Path(name).is_file():
            raise PlacewrightError(f"config file {name} does not exist")
    try:
        conf([], project="placewright", default_config_files=[str(name) for name in files], default_config_dirs=[])
    except (cfg.Error, ValueError) as error:
        raise PlacewrightError(f"config file {named}: {error}") from None
    if faults := list(_faults(conf, files)) or list(_contradictions(conf)):
        raise PlacewrightError(f"config file {named}: {len(faults)} fault{'s' if len(faults) > 1 else ''}" + "".join(f"\n  {one}" for one in faults))
    return conf


def _faults(conf: cfg.ConfigOpts, files: Sequence[Path | str]) -> Iterator[str]:
    """Values that an option does not take; oslo.config looks at a value only when it is asked for."""
    given: dict[str, dict[str, list[str]]] = {}
    for name in files:
        cfg.ConfigParser(str(name), given).parse()
    yield from _unknown(given)
    for group, options in OPTIONS.items():
        for option in options:
            try:
                getattr(getattr(conf, group), option.dest)
            except (cfg.Error, ValueError) as error:
                value = given.get(group, {}).get(option.name, ["?"])[-1]
                yield f"[{group}] {option.name} = {value}: {str(error).rpartition('is not valid: ')[2]}"


def _contradictions(conf: cfg.ConfigOpts) -> Iterator[str]:
    """Values that are right by themselves."""
    alone, together = conf.time_model.bandwidth_mb_per_s, conf.time_model.host_bandwidth_mb_per_s
    if together is not None and together < alone:
        yield (f"[time_model] host_bandwidth_mb_per_s = {together:g}: one migration alone gets more (bandwidth_mb_per_s = {alone:g}); need as much "
               "or more")


def _unknown(given: Mapping[str, Mapping[str, object]]) -> Iterator[str]:
    """A misspelt option would otherwise leave the default in force, in silence."""
    for group, values in given.items():
        known = sorted(option.name for option in OPTIONS.get(group, ()))
        if not known:
            yield f"[{group}]: there is no such group; known are {', '.join(OPTIONS)}"
            continue
        for name in values:
            if name not in known:
                yield f"[{group}] {name}: there is no such option; known are {', '.join(known)}"


def gnocchi_settings(conf: cfg.ConfigOpts) -> GnocchiSettings:
    """The group [gnocchi]."""
    group = conf.gnocchi
    return GnocchiSettings(resource_type=group.resource_type, cpu=group.cpu_metric, cpu_aggregation=group.cpu_aggregation,
                           cpu_interval_s=group.cpu_interval, memory=group.memory_metric, memory_aggregation=group.memory_aggregation,
                           timeout_s=group.timeout)


def time_model(conf: cfg.ConfigOpts) -> TimeModel:
    """The group [time_model]."""
    group = conf.time_model
    return TimeModel(bandwidth_mb_per_s=group.bandwidth_mb_per_s, host_bandwidth_mb_per_s=group.host_bandwidth_mb_per_s,
                     dirty_mb_per_core_s=group.dirty_mb_per_core_s, convergence=group.convergence, live_overhead_s=group.live_overhead,
                     cold_overhead_s=group.cold_overhead, shared_storage=group.shared_storage, live_per_source=group.live_per_source)


def http_settings(conf: cfg.ConfigOpts) -> HttpSettings:
    """How policy services are asked, from the group [policy]."""
    group = conf.policy
    return HttpSettings(timeout_s=group.timeout, attempts=group.attempts, max_mb=group.max_mb, ca_file=group.ca_file)


def marks_settings(conf: cfg.ConfigOpts) -> MarksSettings:
    """What tenants may say with marks, from the group [policy]."""
    group = conf.policy
    return MarksSettings(frozenset(group.tenant_marks), group.tenant_weight, frozenset(group.ignored_flavors))


def database_url(conf: cfg.ConfigOpts) -> str:
    """The address of the database; that of the user's own file where none is set."""
    if conf.database.connection:
        return str(conf.database.connection)
    folder = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return f"sqlite:///{folder / 'placewright' / 'placewright.db'}"


def limits(conf: cfg.ConfigOpts) -> Limits:
    """The group [execution]."""
    group = conf.execution
    return Limits(total=group.parallel_total, per_host=group.parallel_per_host, out_of_host=group.parallel_out_of_host,
                  into_host=group.parallel_into_host, in_aggregate=group.parallel_in_aggregate, poll_interval_s=group.poll_interval,
                  action_timeout_s=group.action_timeout, stall_timeout_s=group.stall_timeout, on_stall=group.on_stall,
                  on_interrupt=group.on_interrupt)
