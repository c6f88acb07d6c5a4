from __future__ import annotations

import hashlib
import random

import numpy as np
import pytest
import torch

from fgvc_zoo.data.seeding import derive_seed, seeded


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def seed_everything() -> None:
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)


def test_derive_seed_is_the_sha256_of_its_parts() -> None:
    for parts in ((0,), (1, 2, 3), (2**40, -5)):
        digest = hashlib.sha256(','.join(str(part) for part in parts).encode()).hexdigest()
        little_endian = sum(int(digest[2 * byte:2 * byte + 2], 16) * 256**byte for byte in range(8))
        assert derive_seed(*parts) == little_endian // 2


def test_derive_seed_keeps_parts_apart() -> None:
    parts = [(1, 23), (12, 3), (1, 2, 3), (123,), (3, 2, 1)]
    assert len({derive_seed(*part) for part in parts}) == len(parts)


def test_seeded_is_a_function_of_the_seed() -> None:
    with seeded(5):
        first = draw()
    draw()
    with seeded(5):
        assert draw() == first
    with seeded(6):
        other = draw()
    assert all(a != b for a, b in zip(first, other, strict=True))


def test_seeded_leaves_no_trace() -> None:
    seed_everything()
    expected = draw()
    seed_everything()
    with pytest.raises(ZeroDivisionError), seeded(derive_seed(0)):  # nor when the block fails
        draw()
        raise ZeroDivisionError
    assert draw() == expected
