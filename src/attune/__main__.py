"""The command `attune`; where its libraries are missing, one line says how to get them."""

import sys


def main() -> None:
    """Runs the command line; a base install, which is what services have, gets told what it lacks."""
    try:
        from attune.cli.main import main as run  # noqa: PLC0415  it needs what a base install does not have
    except ModuleNotFoundError as error:
        sys.exit(
            f"attune: the command needs {error.name}, which a base install lacks; in a clone: make .venv/ready. "
            "To check an exported encoder without it: python -m attune.runtime FOLDER"
        )
    run()


if __name__ == "__main__":
    main()
