"""Results of the commands on each remote, as tables for documentation."""

from remotes.programs import CONSUMER, run
from remotes.servers import KINDS

PACKAGES = ("dvc", "dvc-s3", "dvc-ssh", "dvc-http", "s3fs", "sshfs", "gto")


class Results:
    """Filled while the tests run; a cell exists only if its test got that far."""

    def __init__(self) -> None:
        self._servers: dict[str, str] = {}
        self._passed: dict[str, dict[str, str]] = {}
        self._refused: dict[tuple[str, str], dict[str, str]] = {}

    def server(self, kind: str, name: str) -> None:
        """Notes the name and version of a remote's server."""
        self._servers[kind] = name

    def passed(self, command: str, kind: str) -> None:
        """Notes that a command brought the right files."""
        self._passed.setdefault(command, {})[kind] = "pass"

    def refused(self, fault: str, command: str, kind: str, who: str) -> None:
        """Notes the program that refused a fault."""
        self._refused.setdefault((fault, command), {})[kind] = who

    def tables(self) -> str:
        """Returns commands by remotes, faults and commands by remotes, and the versions of the consumer's packages."""
        servers = [f"{kind} ({self._servers.get(kind, 'not run')})" for kind in KINDS]
        commands = [[f"`{command}`", *map(cells.get, KINDS)] for command, cells in self._passed.items()]
        faults = [[fault, command, *map(cells.get, KINDS)] for (fault, command), cells in self._refused.items()]
        installed = dict(line.split("==") for line in _installed().splitlines() if "==" in line)
        versions = ", ".join(f"{name} {installed[name]}" for name in PACKAGES if name in installed)
        tables = (_table(["command", *servers], commands), _table(["in the remote", "command", *KINDS], faults))
        return "\n\n" + "\n".join((*tables, versions, ""))


def _installed() -> str:
    return run(str(CONSUMER / "python"), "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check")


def _table(head: list[str], rows: list[list[str | None]]) -> str:
    lines = [head, ["---"] * len(head), *([cell or "" for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
