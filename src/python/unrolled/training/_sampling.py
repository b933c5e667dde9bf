"""What every source of batches rests on: randomness by counting, and the share of a rank."""

import numpy as np


def counter_rng(seed: int, *counters: int) -> np.random.Generator:
    """Returns the randomness that belongs to some counters, such as the number of an epoch.

    It is a function of the seed and the counters alone: neither what was drawn before nor a thread
    that prepares batches ahead can change it, and a position in the data is the counters.

    Args:
        seed: at least 0.
        counters: any number of integers of at least 0; others give other random numbers.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=counters))


def check_seed(where: str, seed: int) -> None:
    """Raises ValueError unless `seed` is at least 0."""
    if seed < 0:
        raise ValueError(f"[{where}] expected seed >= 0, got {seed}")


def check_rank(where: str, rank: int, size: int) -> None:
    """Raises ValueError unless `rank` is one of `size` processes."""
    if not 0 <= rank < size:
        raise ValueError(f"[{where}] expected 0 <= rank < size, got rank {rank} of size {size}")
