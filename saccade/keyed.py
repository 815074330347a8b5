"""Randomness that depends on what is being made, never on what ran before.

Everything random about sample i in epoch e comes from `generator(seed, e, i)`, so it is the same for any number of
workers, and a run that was killed goes on as if nothing had happened.
"""

import hashlib

import numpy as np


def seed(*key: int | str) -> int:
    """A seed of 63 bits; the key is whole numbers, and words that say what it is for. Other keys, other seeds."""
    # Hashed, because numpy's own mixing takes (1,) and (1, 0) for the same.
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest(), "little") >> 1


def generator(*key: int | str) -> np.random.Generator:
    """The generator of a key."""
    return np.random.default_rng(seed(*key))
