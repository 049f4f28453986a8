"""Parameters of stage split for tests that split small data."""

from typing import Any

from attune.stages.split import SplitParams


def split_params(**changes: Any) -> SplitParams:
    """Returns parameters by cluster, of a fifth for dev and three tenths for test, with these changes."""
    values: dict[str, Any] = {
        "by": "cluster",
        "seed": 13,
        "dev_share": 0.2,
        "test_share": 0.3,
        "max_cluster_share": 0.3,
        "leave_out_own_text": False,
        "max_leak_share": 0.0,
    }
    return SplitParams.model_validate(values | changes)
