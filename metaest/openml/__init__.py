"""Tasks and evaluations of OpenML (https://www.openml.org), from its server or from a cache.

Needs the extra ``openml`` (``pip install 'metaest[openml]'``). What was fetched once is kept below
the folder of :mod:`metaest.datasets` (``METAEST_CACHE_DIR``, else ``~/metaest_data``), in
``openml/v1/<server>``, and is served from there; ``METAEST_OFFLINE=1`` forbids the network.

The server and the API key are those of ``openml.config``. Its own cache is neither read nor
written, and its settings are what they were after each call.

**What is tried again.** Broken connections, damaged files (md5) and unreadable answers are tried
again `n_retries` times, after 1, 2, 3, ... seconds. A server that stays silent for `timeout`
seconds and an error that it explains are not. Each piece (a suite, a task, the evaluations of a
task) is kept as soon as it is complete, so that a second call continues where the first one failed.
"""

from metaest.openml._evaluations import fetch_evaluations
from metaest.openml._fetch import fetch_tasks
from metaest.openml._task import OpenMLTask
from metaest.openml._task_list import OpenMLTaskList

__all__ = ["OpenMLTask", "OpenMLTaskList", "fetch_evaluations", "fetch_tasks"]
