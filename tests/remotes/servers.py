"""Storage as teams have it, on loopback: a folder, OpenSSH, nginx, and the S3 API of OpenStack Swift.

Each server runs as this user, with its configuration and data in a folder of its own and on a port of its own, and is
stopped by its process.
"""

import getpass
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from programs import CONSUMER, SWIFT, run

START_SECONDS = 60
S3_KEYS = {"AWS_ACCESS_KEY_ID": "test:tester", "AWS_SECRET_ACCESS_KEY": "testing"}
S3_OBJECT = """
import sys, s3fs
endpoint, action, path = sys.argv[1:]
store = s3fs.S3FileSystem(client_kwargs={"endpoint_url": endpoint, "region_name": "us-east-1"})
if action == "make":
    store.mkdir(path)
elif action == "read":
    sys.stdout.buffer.write(store.cat(path))
else:
    store.pipe(path, sys.stdin.buffer.read())
"""


@dataclass(frozen=True)
class Remote:
    """What a repository's .dvc/config says of its storage, and a way to its objects behind DVC's back."""

    server: str  # name and version, for the table
    settings: dict[str, str]  # everyone's, in .dvc/config
    read: Callable[[str], bytes]  # an object, by its path under the remote's
    write: Callable[[str, bytes], object]
    writers: dict[str, str] = field(default_factory=dict)  # those of who pushes, in .dvc/config.local
    environment: dict[str, str] = field(default_factory=dict)  # credentials
    slow: str = ""  # an address with the same objects, at 20 kB a second


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(command: list[str], port: int, log: Path) -> Iterator[None]:
    """Runs a server from the moment that it listens to the end of the block."""
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            _wait_for(process, port, log)
            yield
        finally:
            process.terminate()
            process.wait(timeout=START_SECONDS)


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args} does not listen on {port}:\n{log.read_text()}")
        time.sleep(0.1)


def _version(*command: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False
    )  # these print to stderr, with any status
    return (done.stdout + done.stderr).strip()


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
    """A folder that all machines see, as on a network drive."""
    storage = place / "storage"
    storage.mkdir()
    yield Remote("a folder", {"url": str(storage)}, **_on_disk(storage))


@contextmanager
def ssh(place: Path) -> Iterator[Remote]:
    """OpenSSH with SFTP, keys only; the address, key and known host are in the user's ~/.ssh, as they should be."""
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
        name = _version("ssh", "-V").split()[0].replace("_", " ").rstrip(",")
        environment = {"HOME": str(home)}
        yield Remote(name, {"url": f"ssh://models{storage}"}, environment=environment, **_on_disk(storage))


@contextmanager
def http(place: Path) -> Iterator[Remote]:
    """nginx: everyone reads at one port, who pushes writes with PUT at another; a third one is slow."""
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
            _version("/usr/sbin/nginx", "-v").rsplit(" ", 1)[-1].replace("/", " "),
            {"url": f"http://127.0.0.1:{read}/models"},
            writers={"url": f"http://127.0.0.1:{write}/models", "method": "PUT"},
            slow=f"http://127.0.0.1:{slow}/models",
            **_on_disk(storage),
        )


@contextmanager
def s3(place: Path) -> Iterator[Remote]:
    """OpenStack Swift with its S3 API, one device and one copy of each object."""
    ports = {server: free_port() for server in ("account", "container", "object", "proxy")}
    _configure_swift(place, ports)
    program = str(Path(__file__).with_name("swift_process.py"))
    with ExitStack() as servers:
        for server, port in ports.items():
            command = [str(SWIFT / "python"), program, server, f"{place}/{server}.conf"]
            servers.enter_context(serving(command, port, place / f"{server}.log"))
        endpoint = f"http://127.0.0.1:{ports['proxy']}"

        def access(action: str, path: str, data: bytes = b"") -> bytes:
            command = [str(CONSUMER / "python"), "-c", S3_OBJECT, endpoint, action, path]
            return subprocess.run(command, input=data, capture_output=True, check=True, env=os.environ | S3_KEYS).stdout

        access("make", "models")
        yield Remote(
            "OpenStack Swift " + run(str(SWIFT / "python"), "-c", "import swift; print(swift.__version__)").strip(),
            {"url": "s3://models/dvc", "endpointurl": endpoint, "region": "us-east-1"},
            environment=S3_KEYS,
            read=lambda name: access("read", f"models/dvc/{name}"),
            write=lambda name, data: access("write", f"models/dvc/{name}", data),
        )


def _configure_swift(place: Path, ports: dict[str, int]) -> None:
    (place / "devices" / "d1").mkdir(parents=True)
    (place / "swift.conf").write_text(
        "[swift-hash]\nswift_hash_path_suffix = models\nswift_hash_path_prefix = models\n"
        "[storage-policy:0]\nname = one\ndefault = yes\n"
    )
    default = f"workers = 0\nuser = {getpass.getuser()}\nswift_dir = {place}\nbind_ip = 127.0.0.1\n"
    for server, port in ports.items():
        pipeline, filters = f"{server}-server", ""
        if server == "proxy":
            pipeline = f"catch_errors cache s3api tempauth copy slo {pipeline}"
            filters = "".join(
                f"[filter:{name}]\nuse = egg:swift#{name}\n" for name in "catch_errors s3api copy slo".split()
            )
            # without memcached: S3 requests are signed one by one, no token has to be kept
            filters += "[filter:cache]\nuse = egg:swift#memcache\nmemcache_servers = 127.0.0.1:9\n"
            filters += "[filter:tempauth]\nuse = egg:swift#tempauth\nuser_test_tester = testing .admin\n"
        else:
            ring = [str(SWIFT / "python"), str(SWIFT / "swift-ring-builder"), f"{place}/{server}.builder"]
            run(*ring, "create", "4", "1", "1")
            run(*ring, "add", f"r1z1-127.0.0.1:{port}/d1", "1")
            run(*ring, "rebalance")
        (place / f"{server}.conf").write_text(
            f"[DEFAULT]\n{default}bind_port = {port}\ndevices = {place}/devices\nmount_check = false\n"
            f"disable_fallocate = true\n[pipeline:main]\npipeline = {pipeline}\n{filters}"
            f"[app:{server}-server]\nuse = egg:swift#{server}\n"
            + ("account_autocreate = true\n" if server == "proxy" else "")
        )


KINDS = {"folder": folder, "ssh": ssh, "http": http, "s3": s3}
