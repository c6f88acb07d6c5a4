"""The order of an epoch, known before it starts: so it can be resumed in its middle and shared between processes."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler

from fgvc_zoo._errors import UserError
from fgvc_zoo.data.seeding import derive_seed


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, index) keys in an order that is a function of (seed, epoch) only.

    The first `length // (batch_size * world) * batch_size * world` images of the shuffled order are used, each by one
    process. A step's images of all processes together are a contiguous piece of that order: the same images for every
    `world` at equal `batch_size * world`.

    Args:
        length: Number of images.
        batch_size: Images a step and process.
        seed: Seed of the run.
        rank: This process, in [0, world).
        world: Number of processes.

    Raises:
        UserError: There are fewer images than one step needs, or an argument is out of range.
    """

    def __init__(self, length: int, batch_size: int, seed: int = 0, rank: int = 0, world: int = 1) -> None:
        if batch_size < 1 or not 0 <= rank < world:
            raise UserError(
                f'batch_size must be at least 1 and rank in [0, world), not {batch_size=}, {rank=}, {world=}')
        if length < batch_size * world:
            raise UserError(
                f'there are {length} images, fewer than one step of {batch_size * world}; use a smaller batch size')
        self.length, self.seed, self.rank, self.world = length, seed, rank, world
        self.per_rank = length // (batch_size * world) * batch_size
        self.epoch = 0
        self.start = 0

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose what the next iteration yields.

        Args:
            epoch: Counted from 0.
            start: How many of this process's images of that epoch to skip.

        Raises:
            UserError: `start` lies outside the epoch.
        """
        if not 0 <= start <= self.per_rank:
            raise UserError(f'cannot start at image {start} of an epoch that has {self.per_rank} for each process')
        self.epoch, self.start = epoch, start

    def __len__(self) -> int:
        """Number of keys that the next iteration yields."""
        return self.per_rank - self.start

    def __iter__(self) -> Iterator[tuple[int, int]]:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, self.epoch))
        order = torch.randperm(self.length, generator=generator)[:self.per_rank * self.world]
        mine = order[self.rank::self.world][self.start:].tolist()
        return iter([(self.epoch, index) for index in mine])
