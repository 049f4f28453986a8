"""OpenStack Swift on loopback: its four servers, and DVC's objects through its S3 API."""

import getpass
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from remotes.programs import CONSUMER, SWIFT, run
from remotes.serving import Remote, free_port, serving

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
