"""Congress's own Nova driver, tables and all, with a JSON file in the place of Nova: {"servers": [...], "services": [...], ...}."""

import json
from pathlib import Path
from types import SimpleNamespace

from congress.datasources import constants, datasource_driver, nova_driver


class NovaFromFile(nova_driver.NovaDriver):
    """Polls the file named in its configuration."""

    def __init__(self, name="", args=None):
        """Like that of NovaDriver, without Keystone and novaclient."""
        datasource_driver.PollingDataSourceDriver.__init__(self, name, args)
        datasource_driver.ExecutionDriver.__init__(self)
        path = Path(args["path"])
        self.nova_client = SimpleNamespace(**{kind: SimpleNamespace(list=lambda kind=kind, **_: _listed(path, kind))
                                              for kind in ("servers", "flavors", "hypervisors", "services", "availability_zones")})
        self.initialize_update_methods()
        self._init_end_start_poll()

    @staticmethod
    def get_datasource_info():
        """What it needs to be told."""
        return {"id": "nova_from_file", "description": "Nova from a file.",
                "config": {"path": constants.REQUIRED, "lazy_tables": constants.OPTIONAL, "poll_time": constants.OPTIONAL}}


def _listed(path, kind):
    # novaclient gives objects whose attributes are the keys of Nova's answer.
    return [SimpleNamespace(**row) for row in json.loads(path.read_text())[kind]]
