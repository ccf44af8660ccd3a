"""A nova virt driver that simulates hypervisors: nova's own fake driver, made steerable.

What it adds to nova.virt.fake.FakeLiveMigrateDriver (which tests inside nova use):
  * the node UUID (and resource provider UUID) is read from nova's compute_id file, which
    testbed.py writes; the stock driver draws a new one at every start, so that a
    nova-compute can never be restarted ("No local node identity found");
  * guests survive a restart of nova-compute (they are read back from the database);
  * capacity and traits of each host, live migration time, progress and faults come from
    the JSON file named by $TESTBED_SIM, read anew at every operation:
      {"hosts": {"default": {"vcpus": 16, "memory_mb": 65536, "local_gb": 1000},
                 "compute-2": {"vcpus": 8, "traits": ["CUSTOM_SSD"]}},
       "live_migration": {"base_seconds": 1.0, "seconds_per_gib": 0.5},
       "faults": [{"phase": "run", "server": "name, UUID or *", "dest": "compute-3"}]}
    phase: spawn, check (before a live migration), run (during one), stall (during one: it sends
    on and on, and half of the memory is always left), resize.
"""

import json
import os
import threading
import time

from nova import context as nova_context
from nova import exception, objects
from nova.compute import power_state
from nova.virt import fake, node


def settings():
    try:
        with open(os.environ.get("TESTBED_SIM", "")) as stream:
            return json.load(stream)
    except FileNotFoundError:
        return {}


class SimDriver(fake.FakeDriver):
    def __init__(self, virtapi, read_only=False):
        super().__init__(virtapi, read_only)
        self._requests = {}  # server UUID: event set to "complete" or "abort"
        self._lock = threading.Lock()

    def _capacity(self):
        configured = settings().get("hosts", {})
        merged = {
            "vcpus": 16,
            "memory_mb": 65536,
            "local_gb": 1000,
            **configured.get("default", {}),
            **configured.get(self._host, {}),
        }
        self.vcpus, self.memory_mb, self.local_gb = (merged["vcpus"], merged["memory_mb"], merged["local_gb"])
        self.resources.vcpus, self.resources.memory_mb, self.resources.local_gb = (
            self.vcpus,
            self.memory_mb,
            self.local_gb,
        )
        return merged

    def init_host(self, host):
        super().init_host(host)
        self._capacity()
        stopped = power_state.SHUTDOWN
        for guest in objects.InstanceList.get_by_host(
            nova_context.get_admin_context(), host, expected_attrs=["flavor"]
        ):
            state = stopped if guest.power_state == stopped else power_state.RUNNING
            self.instances[guest.uuid] = fake.FakeInstance(guest.name, state, guest.uuid)
            self.resources.claim(guest.flavor.vcpus, guest.flavor.memory_mb, guest.flavor.root_gb)

    # ---- nodes

    def get_nodenames_by_uuid(self, refresh=False):
        return {node.get_local_node_uuid(): self.get_available_nodes()[0]}

    def get_available_resource(self, nodename):
        self._capacity()
        return {**super().get_available_resource(nodename), "uuid": node.get_local_node_uuid()}

    def update_provider_tree(self, provider_tree, nodename, allocations=None):
        traits = self._capacity().get("traits", [])
        super().update_provider_tree(provider_tree, nodename, allocations)
        if traits:
            provider_tree.add_traits(nodename, *traits)

    # ---- faults

    def _fault(self, phase, instance, dest):
        for fault in settings().get("faults", []):
            if (
                fault["phase"] == phase
                and fault.get("dest", "*") in ("*", dest)
                and fault.get("server", "*") in ("*", instance.uuid, instance.display_name)
            ):
                return True
        return False

    def spawn(self, context, instance, *args, **kwargs):
        if self._fault("spawn", instance, self._host):
            raise exception.ComputeResourcesUnavailable(reason="simulated fault: spawn")
        super().spawn(context, instance, *args, **kwargs)

    def migrate_disk_and_power_off(self, context, instance, dest, *args, **kwargs):
        if self._fault("resize", instance, "*"):
            raise exception.InstanceFaultRollback(exception.ResizeError(reason="simulated fault: resize"))

    def check_can_live_migrate_destination(self, context, instance, *args, **kwargs):
        if self._fault("check", instance, self._host):
            raise exception.MigrationPreCheckError(reason="simulated fault: check")
        return super().check_can_live_migrate_destination(context, instance, *args, **kwargs)

    # ---- live migration

    def live_migration(
        self, context, instance, dest, post_method, recover_method, block_migration=False, migrate_data=None
    ):
        timing = settings().get("live_migration", {})
        memory = instance.flavor.memory_mb
        duration = timing.get("base_seconds", 1.0) + timing.get("seconds_per_gib", 0.5) * memory / 1024
        request = {"event": threading.Event(), "what": None}
        with self._lock:
            self._requests[instance.uuid] = request
        began = time.monotonic()
        try:
            while not request["event"].wait(min(0.5, duration)):
                sent = (time.monotonic() - began) / duration
                done = min(0.5 if self._fault("stall", instance, dest) else 1.0, sent)
                self._progress(migrate_data, memory * 2**20, sent, done)
                if done >= 0.5 and self._fault("run", instance, dest):
                    request["what"] = "fail"
                    break
                if done >= 1.0:
                    break
        finally:
            with self._lock:
                del self._requests[instance.uuid]
        if request["what"] == "abort":
            recover_method(context, instance, dest, migrate_data, migration_status="cancelled")
        elif request["what"] == "fail":
            recover_method(context, instance, dest, migrate_data)
        else:
            post_method(context, instance, dest, block_migration, migrate_data)

    @staticmethod
    def _progress(migrate_data, total, sent, done):
        migration = migrate_data.migration
        migration.memory_total = total
        migration.memory_processed = int(total * sent)
        migration.memory_remaining = total - int(total * done)
        migration.disk_total = migration.disk_processed = migration.disk_remaining = 0
        migration.save()

    def _request(self, instance, what):
        with self._lock:
            request = self._requests.get(instance.uuid)
            if request:
                request["what"] = what
                request["event"].set()

    def live_migration_force_complete(self, instance):
        self._request(instance, "complete")

    def live_migration_abort(self, instance):
        self._request(instance, "abort")

    def post_live_migration(self, context, instance, block_device_info, migrate_data=None):
        self.destroy(context, instance, network_info=None, block_device_info=block_device_info)
