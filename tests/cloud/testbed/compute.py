"""nova-compute whose driver may live outside the nova source tree.

nova loads drivers only from the package nova.virt; this adds the folder `driver` to its path.
"""

import pathlib
import sys

from nova import monkey_patch

monkey_patch.patch(backend="threading")  # first, as nova/cmd/compute.py does

import nova.virt  # noqa: E402

nova.virt.__path__.append(str(pathlib.Path(__file__).resolve().parent / "driver"))

from nova.cmd import compute  # noqa: E402

sys.argv[0] = "nova-compute"
sys.exit(compute.main())
