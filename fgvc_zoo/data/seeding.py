"""Seeds derived from integers, so that a resumed run is bit-identical with any number of workers."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive_seed(*parts: int) -> int:
    """A seed in [0, 2**63) that differs for every tuple of integers; the same on every machine and version."""
    digest = hashlib.sha256(','.join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], 'little') >> 1


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global CPU generators of Python, numpy and torch inside the block.

    Their previous states are restored afterwards.

    Args:
        seed: In [0, 2**63).
    """
    python, legacy = random.getstate(), np.random.get_state()
    # not torch.manual_seed, which also seeds the accelerators
    generator = torch.default_generator
    state = generator.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)
        generator.set_state(state)
