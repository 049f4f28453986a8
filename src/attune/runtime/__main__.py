"""Checks an exported encoder where it is deployed: `python -m attune.runtime FOLDER`; needs no extra of attune."""

import argparse
import sys
from typing import NoReturn

from attune.errors import BadInput, one_line
from attune.runtime import verify

DESCRIPTION = "Checks the files of an exported encoder against its manifest, and its vectors against the golden ones."


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(one_line(message))


def main() -> None:
    """Verifies the folder; an error is one line on stderr and exit code 1."""
    parser = _Parser(prog="python -m attune.runtime", description=DESCRIPTION)
    parser.add_argument("folder", help="an exported encoder, such as models/onnx")
    folder = parser.parse_args().folder
    try:
        verify(folder)
    except (BadInput, OSError) as error:
        sys.exit(f"attune.runtime: {one_line(error)}")
    sys.stdout.write(f"{one_line(folder)}: every file and every golden vector matches the manifest\n")


if __name__ == "__main__":
    main()
