"""Command `attune`; without the libraries of the extra `pipeline`, one line says how to get them."""

import sys


def main() -> None:
    """Runs the command line; exits with one line if a library is missing, as in a service's base install."""
    try:
        from attune.cli.main import main as run  # noqa: PLC0415  needs libraries that a base install lacks
    except ModuleNotFoundError as error:
        sys.exit(
            f"attune: the command needs {error.name}, which a base install lacks; in a clone: make .venv/ready. "
            "To check an exported encoder without it: python -m attune.runtime FOLDER"
        )
    run()


if __name__ == "__main__":
    main()
