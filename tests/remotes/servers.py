"""Remotes on loopback: a folder, OpenSSH, nginx, and the S3 API of OpenStack Swift.

Each server runs as this user, with its own folder for configuration and data and its own port.
"""

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from remotes.object_store import s3
from remotes.programs import run
from remotes.serving import Remote, free_port, serving, version


def _on_disk(folder: Path) -> dict[str, Any]:
    return {
        "read": lambda name: (folder / name).read_bytes(),
        "write": lambda name, data: _replace(folder / name, data),
    }


def _replace(path: Path, data: bytes) -> None:
    path.chmod(0o644)  # DVC's objects are read-only
    path.write_bytes(data)


@contextmanager
def folder(place: Path) -> Iterator[Remote]:
    """A folder that all machines share, like a network drive."""
    storage = place / "storage"
    storage.mkdir()
    yield Remote("a folder", {"url": str(storage)}, **_on_disk(storage))


@contextmanager
def ssh(place: Path) -> Iterator[Remote]:
    """OpenSSH with SFTP and keys only; address, key and known host are in the user's ~/.ssh."""
    port, storage, home = free_port(), place / "storage", place / "home"
    storage.mkdir()
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    for key in (place / "host_key", home / ".ssh" / "id_ed25519"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    (home / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{port} {(place / 'host_key.pub').read_text()}")
    (home / ".ssh" / "config").write_text(
        f"Host models\n  HostName 127.0.0.1\n  Port {port}\n  User {getpass.getuser()}\n"
        f"  IdentityFile {home}/.ssh/id_ed25519\n  UserKnownHostsFile {home}/.ssh/known_hosts\n"
    )
    (place / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {place}/host_key\nPidFile none\nStrictModes no\nUsePAM no\n"
        f"AuthorizedKeysFile {home}/.ssh/id_ed25519.pub\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        f"AllowUsers {getpass.getuser()}\nPermitRootLogin prohibit-password\n"
        "Subsystem sftp internal-sftp\nForceCommand internal-sftp\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where root's sshd locks up what it does before a login
    with serving(["/usr/sbin/sshd", "-D", "-e", "-f", f"{place}/sshd_config"], port, place / "sshd.log"):
        name = version("ssh", "-V").split()[0].replace("_", " ").rstrip(",")
        yield Remote(name, {"url": f"ssh://models{storage}"}, keys=home / ".ssh", **_on_disk(storage))


@contextmanager
def http(place: Path) -> Iterator[Remote]:
    """nginx: reads at one port, writes with PUT at another; a third port is slow."""
    read, write, slow = free_port(), free_port(), free_port()
    storage = place / "www" / "models"
    storage.mkdir(parents=True)
    user = f"user {getpass.getuser()};\n" if os.geteuid() == 0 else ""
    bodies = "".join(
        f"{kind}_temp_path {place}/{kind};" for kind in ("fastcgi", "uwsgi", "scgi", "proxy", "client_body")
    )
    (place / "nginx.conf").write_text(
        f"{user}daemon off;\npid {place}/nginx.pid;\nerror_log stderr;\nworker_processes 1;\nevents {{}}\nhttp {{\n"
        f"access_log off;\nclient_max_body_size 0;\nroot {place}/www;\n{bodies}\n"
        f"server {{ listen 127.0.0.1:{read}; }}\n"
        f"server {{ listen 127.0.0.1:{write}; dav_methods PUT; create_full_put_path on; }}\n"
        f"server {{ listen 127.0.0.1:{slow}; limit_rate 20k; }}\n}}\n"
    )
    with serving(["/usr/sbin/nginx", "-p", str(place), "-c", f"{place}/nginx.conf"], read, place / "nginx.log"):
        yield Remote(
            version("/usr/sbin/nginx", "-v").rsplit(" ", 1)[-1].replace("/", " "),
            {"url": f"http://127.0.0.1:{read}/models"},
            writers={"url": f"http://127.0.0.1:{write}/models", "method": "PUT"},
            slow=f"http://127.0.0.1:{slow}/models",
            **_on_disk(storage),
        )


KINDS = {"folder": folder, "ssh": ssh, "http": http, "s3": s3}
