"""Samplers. The order of an epoch is fixed before it starts, so a run can resume in the middle of it and split it between processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Sampler

from fgvc_zoo._errors import UserError, check_range
from fgvc_zoo.data.seeding import derive_seed


class EpochSampler(Sampler[tuple[int, int, int]]):
    """Yields keys (epoch, index, repeat) in an order that depends only on (seed, epoch).

    `repeat` counts earlier occurrences of the image in the epoch; here it is always 0.

    The first `length // (batch_size * world) * batch_size * world` images of the shuffled order are used, each by one process. The images
    of one step over all processes are contiguous in that order, and so are those of each process. So a step has the same images in the same
    order for every `world` with equal `batch_size * world`.

    Args:
        length: Number of images.
        batch_size: Images per step and process.
        seed: Seed of the run.
        rank: This process, in [0, world).
        world: Number of processes.

    Attributes:
        class_vectors: A vector of each class (K, D), whose cosines are the classes' similarities, for samplers that use them; None or
            zeros while they are not known. Set it before an epoch.

    Raises:
        UserError: There are fewer images than one step needs, or an argument is out of range.
    """

    def __init__(self, length: int, batch_size: int, seed: int = 0, rank: int = 0, world: int = 1) -> None:
        check_range('batch_size', batch_size, 1)
        self.batch_size = batch_size
        check_range('rank', rank, 0, world, exclude=(world,))
        if length < batch_size * world:
            raise UserError(
                f'there are {length} images, fewer than one step of {batch_size * world}; use a smaller batch size')
        self.length, self.seed, self.rank, self.world = length, seed, rank, world
        self.per_rank = length // (batch_size * world) * batch_size
        self.epoch = 0
        self.start = 0
        self.class_vectors: Tensor | None = None

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Set the epoch of the next iteration.

        Args:
            epoch: Counted from 0.
            start: Number of this process's images to skip at its beginning.

        Raises:
            UserError: `start` lies outside the epoch.
        """
        check_range('start', start, 0, self.per_rank)
        self.epoch, self.start = epoch, start

    def __len__(self) -> int:
        """Number of keys that the next iteration yields."""
        return self.per_rank - self.start

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, self.epoch))
        order = self._order(generator)
        own = range(self.rank * self.batch_size, len(order), self.batch_size * self.world)  # where this process's batches begin
        keys = [(self.epoch, index, repeat) for begin in own for index, repeat in order[begin:begin + self.batch_size]]
        return iter(keys[self.start:])

    def _order(self, generator: torch.Generator) -> list[tuple[int, int]]:
        """(index, repeat) of an epoch, step by step; in each step those of one process after the other."""
        order = torch.randperm(self.length, generator=generator)[:self.per_rank * self.world]
        return [(index, 0) for index in order.tolist()]


class BalancedSampler(EpochSampler):
    """Batches with several images of each class, for losses over pairs.

    Every batch of every process has batch_size // images_per_class classes with images_per_class images each. The batches of a step over
    all processes have different classes if there are enough, so a step has the same images in the same order for every `world` with equal
    `batch_size * world`. An epoch has as many steps as with `EpochSampler`. The images of a class are shuffled and split into groups. The
    classes of a batch are drawn with probability proportional to their remaining groups, so nearly every image occurs once per epoch even
    if class sizes differ. A group that is too small is filled with other images of its class; a class of fewer than images_per_class
    images repeats them. `repeat` differs for each occurrence of an image in an epoch, so each copy is augmented differently. Equal copies
    would always be the nearest pairs.

    Args:
        targets: Class of each image, in [0, number of classes).
        batch_size: Images per step and process, a multiple of `images_per_class`.
        images_per_class: Images of a class in a batch.
        seed: Seed of the run.
        rank: This process, in [0, world).
        world: Number of processes.
        similar_classes: The classes of a batch are drawn in groups of this many: one at random, and those most similar to it among the
            classes with images left. 1, or no `class_vectors`, draws every class at random.

    Raises:
        UserError: The batch size is no multiple of `images_per_class`, or a batch needs more classes than there are.
    """

    def __init__(
            self, targets: Sequence[int], batch_size: int, images_per_class: int, seed: int = 0, rank: int = 0, world: int = 1,
            similar_classes: int = 1) -> None:
        super().__init__(len(targets), batch_size, seed, rank, world)
        check_range('images_per_class', images_per_class, 1)
        check_range('similar_classes', similar_classes, 1)
        if batch_size % images_per_class:
            raise UserError(f'batch_size {batch_size} must be a multiple of images_per_class {images_per_class}')
        labels = torch.as_tensor(targets)
        self.classes = labels.unique()
        self.similar_classes = similar_classes
        self.members = [(labels == label).nonzero().squeeze(1) for label in self.classes.tolist()]
        self.images_per_class = images_per_class
        self.classes_per_batch = batch_size // images_per_class
        if self.classes_per_batch > len(self.members):
            raise UserError(f'a batch of {batch_size} with {images_per_class} images of a class needs {self.classes_per_batch} classes, '
                            f'and there are {len(self.members)}; use a smaller batch size')

    def _order(self, generator: torch.Generator) -> list[tuple[int, int]]:
        # all batches of a step at once, so that they have different classes, or else one after the other
        together = self.world if self.world * self.classes_per_batch <= len(self.members) else 1
        count = together * self.classes_per_batch
        similarity = self._similarity()
        groups: list[list[Tensor]] = [[] for _ in self.members]
        order: list[tuple[int, int]] = []
        occurrences: Counter[int] = Counter()
        for _ in range(self.per_rank * self.world // (count * self.images_per_class)):
            left = torch.tensor([len(remaining) for remaining in groups])
            if (left > 0).sum() < count:  # at the start, and when too few classes have groups left
                for remaining, members in zip(groups, self.members, strict=True):
                    remaining.extend(self._split(members, generator))
                left = torch.tensor([len(remaining) for remaining in groups])
            drawn = self._draw(left.float(), count, similarity, generator)
            for index in torch.cat([groups[index].pop() for index in drawn]).tolist():
                order.append((index, occurrences[index]))
                occurrences[index] += 1
        return order

    def _similarity(self) -> Tensor | None:
        """Cosines between the classes that have images; None if every class is to be drawn at random."""
        if self.similar_classes == 1 or self.class_vectors is None or not self.class_vectors.any():
            return None
        unit = F.normalize(self.class_vectors[self.classes].float(), dim=1)
        return unit @ unit.T

    def _draw(self, weights: Tensor, total: int, similarity: Tensor | None, generator: torch.Generator) -> list[int]:
        """`total` classes, with probability proportional to `weights`."""
        if similarity is None:
            return torch.multinomial(weights, total, generator=generator).tolist()
        drawn: list[int] = []
        weights = weights.clone()
        while len(drawn) < total:
            first = torch.multinomial(weights, 1, generator=generator)
            weights[first] = 0
            count = min(self.similar_classes - 1, total - len(drawn) - 1)
            nearest = similarity[first[0]].masked_fill(weights == 0, -2).topk(count).indices  # below every cosine
            weights[nearest] = 0
            drawn += [*first.tolist(), *nearest.tolist()]
        return drawn

    def _split(self, members: Tensor, generator: torch.Generator) -> list[Tensor]:
        """Split a class's images into random groups of `images_per_class`."""
        size = self.images_per_class
        shuffled = members[torch.randperm(len(members), generator=generator)]
        repeats = -(-size // len(members)) + 1
        whole = -(-len(members) // size) * size
        return list(shuffled.repeat(repeats)[:whole].split(size))
