"""What bench/serve.py finds, as a part of the whole bench: `make bench-serve` is the same without it; 3 minutes."""

import argparse
import subprocess
import sys
from pathlib import Path

from section import ROOT, Section, show


def measure(section: Section, _: argparse.Namespace) -> None:
    """Its tables as they are.

    Raises:
        SystemExit: it failed; what it said is on stderr.
    """
    if not (ROOT / "models/onnx/onnx/model.onnx").is_file():
        section.leave_out("serve: no exported encoder; run `make repro`")
        return
    script = Path(__file__).with_name("serve.py")
    done = subprocess.run([sys.executable, script], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"attune bench: serve.py ended with exit code {done.returncode}, see above")
    section.add("From `make bench-serve`.", done.stdout.strip())


def main() -> None:
    """Prints the tables."""
    show("serve_rows", "Serve", argparse.ArgumentParser(description=__doc__), measure)


if __name__ == "__main__":
    main()
