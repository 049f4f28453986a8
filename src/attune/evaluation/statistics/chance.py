"""Significance: its level and rule."""


def significance_level(confidence: float) -> float:
    """Returns the significance level of a confidence: 0.05 of 0.95."""
    return float(f"{1 - confidence:.6g}")


def is_significant(p_value: float, confidence: float) -> bool:
    """Tells whether a p-value, corrected where there are several comparisons, is at most the significance level."""
    return p_value <= significance_level(confidence)
