"""What every source of batches rests on: the randomness of an epoch, and the share of a rank."""

import numpy as np


def epoch_rng(seed: int, epoch: int) -> np.random.Generator:
    """Returns the randomness of one epoch, a function of the seed and the epoch alone.

    A position in the data is then a pair of numbers, and neither what was drawn before nor a
    thread that prepares batches ahead can change it.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch,)))


def check_seed(where: str, seed: int) -> None:
    """Raises ValueError unless `seed` is at least 0."""
    if seed < 0:
        raise ValueError(f"[{where}] expected seed >= 0, got {seed}")


def check_rank(where: str, rank: int, size: int) -> None:
    """Raises ValueError unless `rank` is one of `size` processes."""
    if not 0 <= rank < size:
        raise ValueError(f"[{where}] expected 0 <= rank < size, got rank {rank} of size {size}")
