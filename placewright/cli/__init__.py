"""The command line: ``placewright <noun> <verb>``. Data goes to stdout, progress and remarks to stderr."""

import os

# numpy's algebra is not what takes time here; its threads, begun on import, would take signals meant for us (stopped_by_ctrl_c).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
