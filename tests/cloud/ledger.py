"""What Nova has done, held against what a report says."""

from typing import Any

from openstack.connection import Connection

from datasources.inventory import read_cluster
from tests.cloud import scenario


class Ledger:
    """The migrations of a plan, and the records that Nova had of its servers before it was carried out."""

    def __init__(self, connection: Connection, plan: dict[str, Any]) -> None:
        """Count the records."""
        self.connection = connection
        self.moves = {action["uuid"]: action["input_parameters"] for action in plan["actions"] if action["action_type"] == "migrate"}
        self.before = {what["resource_id"]: len(scenario.migrations(connection, what["resource_id"])) for what in self.moves.values()}
        assert len(self.before) == len(self.moves) > 0, "each server moves once, so that records can be told apart"

    def agrees_with(self, report: dict[str, Any]) -> None:
        """Each action has ended, with a reason; servers moved once where that succeeded, and stayed where it did not, unless the report says so."""
        cluster = read_cluster(self.connection)
        for action in report["actions"]:
            assert action["state"] in ("SUCCEEDED", "SKIPPED", "FAILED"), action
            assert action["text"]
            if "it still runs and is left alone" in action["text"]:
                continue
            if what := self.moves.get(action["uuid"]):
                records = scenario.migrations(self.connection, what["resource_id"])
                new = records[:len(records) - self.before[what["resource_id"]]]
                made = [one for one in new if one["status"] in ("completed", "confirmed")]
                assert len(made) == (action["state"] == "SUCCEEDED"), (action, new)
                where = cluster.server_by_id[what["resource_id"]].host
                assert where == what["destination_node" if made else "source_node"] or f"is on {where} now" in action["text"], (action, where)
