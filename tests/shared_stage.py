"""Stage whose processes run shared_jobs; the process that starts them need not load what those do."""

from pathlib import Path

from attune.encoding import launch
from attune.encoding.launch import SharedParams
from attune.stage import Out, Receipt, run


def work(params: SharedParams, folder: Path, job: Path, out: Out) -> Receipt:
    """Runs the jobs described in a file."""
    import shared_jobs

    shared_jobs.run_jobs(params, folder, job, out)
    return {}


if __name__ == "__main__":
    run(work, launch.call)
