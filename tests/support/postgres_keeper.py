"""The process that keeps a run's PostgreSQL: it starts it, and stops it when the run is over.

Started as `python -m tests.support.postgres_keeper DIRECTORY`. It needs no signal and no goodbye, so
that a run which was killed leaves no server behind either; should the keeper itself be killed, the
kernel stops the server (see `Cluster.start`).
"""

import shutil
import sys
import traceback
from pathlib import Path

from tests.support import postgres, run


def main() -> None:
    """Keep a PostgreSQL in the directory given as the one argument."""
    home = Path(sys.argv[1])
    cluster = None
    try:
        cluster = postgres.Cluster(home / "postgres", postgres.installation(home))
        cluster.initialize()
        cluster.start()
        postgres.announce(home, cluster.url("postgres"))
    except Exception:  # noqa: BLE001 -- whatever it was, those who wait must be told
        postgres.announce_failure(home, traceback.format_exc())
    run.over(home)
    if cluster:
        cluster.stop("immediate")
    shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
