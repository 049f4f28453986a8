"""`python -m attune.runtime FOLDER`: checks an exported encoder where it is deployed; needs no extra of attune's."""

import argparse
import sys

from attune.errors import BadInput
from attune.runtime import verify

ABOUT = "Checks every file of an exported encoder against its manifest, and the vectors that it makes."


def main() -> None:
    """Verifies the folder; an error is one line on stderr and exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m attune.runtime", description=ABOUT)
    parser.add_argument("folder", help="an exported encoder, such as models/onnx")
    folder = parser.parse_args().folder
    try:
        verify(folder)
    except (BadInput, OSError) as error:
        sys.exit(f"attune.runtime: {' '.join(str(error).split())}")
    sys.stdout.write(f"{folder}: every file and every golden vector is as the manifest says\n")


if __name__ == "__main__":
    main()
