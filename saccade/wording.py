"""Numbers in sentences."""


def counted(count: int, one: str, several: str) -> str:
    """1 image, 2,000 images."""
    return f"{count:,} {one if count == 1 else several}"
