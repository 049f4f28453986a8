"""One process of OpenStack Swift with its configuration in a folder of ours: `swift_process.py SERVER CONFIGURATION`.

Swift looks for swift.conf in /etc/swift when its modules are imported, and has no flag or variable for another place.
That is all that is changed here; the servers are Swift's own programs.
"""

import sys
from importlib.metadata import entry_points
from pathlib import Path

from swift.common import utils


def main() -> None:
    """Serves until terminated. SERVER is proxy, account, container or object."""
    server, configuration = sys.argv[1:]
    utils.SWIFT_CONF_FILE = str(Path(configuration).with_name("swift.conf"))
    program = f"swift-{server}-server"
    sys.argv = [program, configuration]
    entry_points(group="console_scripts")[program].load()()


if __name__ == "__main__":
    main()
