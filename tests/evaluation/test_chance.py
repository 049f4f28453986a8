"""A p-value at the level is significant."""

from attune.evaluation.statistics.chance import is_significant


def test_a_p_value_at_the_level_is_significant() -> None:
    """As in Holm's procedure: at most the level; above it, by however little, it is not."""
    assert is_significant(0.05, 0.95) and is_significant(0.1, 0.9)
    assert not is_significant(0.0501, 0.95)
