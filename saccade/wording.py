"""Numbers in sentences."""

import math
from typing import Any


def counted(count: int, one: str, several: str) -> str:
    """1 image, 2,000 images."""
    return f"{count:,} {one if count == 1 else several}"


def finite(value: Any) -> Any:
    """The same with None for what is no number: JSON has no nan."""
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
