"""Settings of calibration: how deep hits are judged, and which precision is promised."""

from pydantic import Field

from attune.stage import Params


class CalibrateParams(Params):
    """Depth of the hits and the precision that is promised.

    Attributes:
        depth: hits of each query that the map is learned from; 0 turns calibration off.
        precision: of first hits at the promised cutoff.
    """

    depth: int = Field(ge=0, le=1000)
    precision: float = Field(gt=0, lt=1)
