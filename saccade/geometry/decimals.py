"""The decimal numbers that people wrote, out of the float32 numbers they are kept as."""

import numpy as np


def shortest(values: np.ndarray) -> np.ndarray:
    """float64 numbers of as few digits as possible that are these when rounded to float32.

    What was written as 302.1 is 302.1 again, not 302.1000061; so halves are rounded the way they were meant.

    values  any shape, float32
    """
    found = values.astype(np.float64)
    open = np.ones(values.shape, dtype=bool)
    for digits in range(7):
        rounded = np.round(found, digits)
        fits = open & (rounded.astype(np.float32) == values)
        found[fits], open[fits] = rounded[fits], False
        if not open.any():
            return found
    found[open] = [float(str(value)) for value in values[open]]
    return found
