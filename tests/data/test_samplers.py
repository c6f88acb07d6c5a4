from __future__ import annotations

from collections import Counter

import pytest
import torch

from fgvc_zoo._errors import UserError
from fgvc_zoo.data import BalancedSampler, EpochSampler


def epoch_of(sampler: EpochSampler, epoch: int, start: int = 0) -> list[tuple[int, int, int]]:
    sampler.set_epoch(epoch, start)
    keys = list(sampler)
    assert len(keys) == len(sampler)
    return keys


def test_yields_whole_batches_of_distinct_images() -> None:
    keys = epoch_of(EpochSampler(23, batch_size=4), 3)
    assert len(keys) == 20
    assert {(epoch, repeat) for epoch, _, repeat in keys} == {(3, 0)}
    indices = [index for _, index, _ in keys]
    assert len(set(indices)) == 20 and set(indices) <= set(range(23))
    assert indices != sorted(indices)


def test_an_epoch_begins_at_its_first_image() -> None:
    sampler = EpochSampler(24, batch_size=4)
    assert len(sampler) == len(list(sampler)) == 24  # also before an epoch was set
    sampler.set_epoch(1)
    assert [key[0] for key in sampler] == 24 * [1]


def test_every_image_comes_when_the_length_divides() -> None:
    assert sorted(index for _, index, _ in epoch_of(EpochSampler(24, batch_size=4), 0)) == list(range(24))


def test_the_seed_is_zero_unless_said() -> None:
    assert epoch_of(EpochSampler(33, 4), 1) == epoch_of(EpochSampler(33, 4, seed=0), 1)
    targets = [label for label in range(4) for _ in range(9)]
    assert epoch_of(BalancedSampler(targets, 4, 2), 1) == epoch_of(BalancedSampler(targets, 4, 2, seed=0), 1)


def test_order_is_a_function_of_seed_and_epoch() -> None:
    order = epoch_of(EpochSampler(40, 4, seed=1), 2)
    assert order == epoch_of(EpochSampler(40, 4, seed=1), 2)
    indices = [index for _, index, _ in order]
    for seed, epoch in ((1, 3), (2, 2), (2, 1)):
        assert indices != [index for _, index, _ in epoch_of(EpochSampler(40, 4, seed=seed), epoch)]


@pytest.mark.parametrize('world', [1, 2, 3, 6])
def test_processes_share_each_step(world: int) -> None:
    whole = epoch_of(EpochSampler(31, batch_size=6), 1)
    shares = [epoch_of(EpochSampler(31, batch_size=6 // world, rank=rank, world=world), 1) for rank in range(world)]
    assert {len(share) for share in shares} == {30 // world}
    for step in range(5):
        # the global batch of a step is the same whatever the number of processes
        batch = 6 // world
        together = [key for share in shares for key in share[step * batch:(step + 1) * batch]]
        assert sorted(together) == sorted(whole[step * 6:(step + 1) * 6])


@pytest.mark.parametrize('start', [0, 4, 12, 16])
def test_start_skips(start: int) -> None:
    sampler = EpochSampler(33, batch_size=4, rank=1, world=2)
    whole = epoch_of(sampler, 5)
    assert len(whole) == 16
    assert epoch_of(sampler, 5, start) == whole[start:]
    assert len(epoch_of(sampler, 6)) == 16  # the next epoch is whole again


@pytest.mark.parametrize('start', [-1, 9])
def test_start_outside_the_epoch(start: int) -> None:
    with pytest.raises(UserError, match=r'start must be in \[0, 8\]'):
        EpochSampler(8, batch_size=4).set_epoch(0, start)


@pytest.mark.parametrize('arguments', [
    dict(batch_size=0), dict(rank=2, world=2), dict(rank=-1), dict(batch_size=5, world=2)])
def test_bad_arguments(arguments: dict[str, int]) -> None:
    with pytest.raises(UserError):
        EpochSampler(9, **{'batch_size': 1, **arguments})


def balanced_batches(targets: list[int], batch_size: int, images_per_class: int, epoch: int = 0, **args: int) -> list[list[int]]:
    keys = epoch_of(BalancedSampler(targets, batch_size, images_per_class, **args), epoch)
    assert {key[0] for key in keys} == {epoch}
    indices = [index for _, index, _ in keys]
    return [indices[start:start + batch_size] for start in range(0, len(indices), batch_size)]


def classes_of(targets: list[int], batch: list[int]) -> Counter[int]:
    return Counter(targets[index] for index in batch)


@pytest.mark.parametrize('world', [1, 2])
def test_balanced_batches_hold_several_images_of_each_of_their_classes(world: int) -> None:
    targets = [label for label in range(9) for _ in range(5 + label)]
    for rank in range(world):
        batches = balanced_batches(targets, 12, 4, rank=rank, world=world)
        assert len(batches) == len(targets) // (12 * world)
        for batch in batches:
            assert sorted(classes_of(targets, batch).values()) == [4, 4, 4]
            assert len(set(batch)) == 12


def test_processes_get_different_balanced_batches() -> None:
    targets = [label for label in range(8) for _ in range(8)]
    first, second = (balanced_batches(targets, 8, 2, seed=3, rank=rank, world=2) for rank in range(2))
    alone = balanced_batches(targets, 16, 2, seed=3)
    assert [one + other for one, other in zip(first, second, strict=True)] == alone


@pytest.mark.parametrize('batch_size', [6, 8])
def test_processes_get_balanced_batches_where_the_classes_are_too_few_for_all_at_once(batch_size: int) -> None:
    targets = [label for label in range(5) for _ in range(8)]
    first, second = (balanced_batches(targets, batch_size, 2, seed=3, rank=rank, world=2) for rank in range(2))
    alone = balanced_batches(targets, batch_size, 2, seed=3)
    assert [batch for pair in zip(first, second, strict=True) for batch in pair] == alone[:2 * len(first)]
    assert all(set(classes_of(targets, batch).values()) == {2} for batch in first + second)


def test_an_epoch_of_balanced_batches_shows_every_image_where_the_classes_divide() -> None:
    targets = [label for label in range(10) for _ in range(8)]
    seen = Counter(index for batch in balanced_batches(targets, 8, 4) for index in batch)
    # the last classes may not fill a batch of different ones; few images are seen twice, or not at all
    assert sum(seen.values()) == 80 and len(seen) >= 72


def test_large_classes_come_in_proportion() -> None:
    targets = [0] * 60 + [1] * 60 + [label for label in range(2, 12) for _ in range(6)]
    seen = Counter(targets[index] for epoch in range(5) for batch in balanced_batches(targets, 6, 2, epoch) for index in batch)
    assert seen[0] == pytest.approx(300, abs=75)
    assert seen[5] == pytest.approx(30, abs=16)


def test_classes_of_few_images_repeat_them() -> None:
    targets = [0, 1, 1, 2, 2, 2, 3, 3, 3, 3]
    for epoch in range(4):
        for batch in balanced_batches(targets, 8, 4, epoch):
            assert sorted(classes_of(targets, batch).values()) == [4, 4]


@pytest.mark.parametrize('world', [1, 2])
def test_every_showing_of_an_image_in_an_epoch_is_another_repeat(world: int) -> None:
    targets = [0, 1, 1, 2, 2, 2, 3, 3, 3, 3] * 2
    keys = [key for rank in range(world) for key in epoch_of(BalancedSampler(targets, 8, 4, rank=rank, world=world), 5)]
    shown = Counter(index for _, index, _ in keys)
    assert max(shown.values()) > 1
    assert sorted(keys) == sorted((5, index, repeat) for index, count in shown.items() for repeat in range(count))


def test_balanced_order_is_a_function_of_seed_and_epoch_and_can_start_in_the_middle() -> None:
    targets = [label for label in range(6) for _ in range(6)]
    sampler = BalancedSampler(targets, 6, 2, seed=1)
    whole = epoch_of(sampler, 2)
    assert whole == epoch_of(BalancedSampler(targets, 6, 2, seed=1), 2)
    assert epoch_of(sampler, 2, 12) == whole[12:]
    for seed, epoch in ((1, 3), (2, 2)):
        assert [index for _, index, _ in whole] != [index for _, index, _ in epoch_of(BalancedSampler(targets, 6, 2, seed=seed), epoch)]


@pytest.mark.parametrize(
    ('batch_size', 'images_per_class', 'words'), [(6, 4, 'multiple'), (12, 2, 'needs 6 classes'), (6, 0, 'at least 1')])
def test_impossible_balanced_batches(batch_size: int, images_per_class: int, words: str) -> None:
    with pytest.raises(UserError, match=words):
        BalancedSampler([label for label in range(4) for _ in range(9)], batch_size, images_per_class)


def test_a_group_of_similar_classes_holds_one_at_least() -> None:
    with pytest.raises(UserError, match='similar_classes must be at least 1, not 0'):
        BalancedSampler([0, 0, 1, 1], 4, 2, similar_classes=0)


def similar_sampler(vectors: torch.Tensor | None, targets: list[int], batch_size: int = 8, **args: int) -> BalancedSampler:
    sampler = BalancedSampler(targets, batch_size, 2, similar_classes=4, **args)
    sampler.class_vectors = vectors
    return sampler


def test_similar_classes_come_together() -> None:
    """Four families of four classes each: while a family has all of its classes left, they fill a batch of four."""
    targets = [label for label in range(16) for _ in range(8)]
    family = torch.arange(16) % 4
    vectors = torch.eye(4)[family] + 0.01 * torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
    keys = epoch_of(similar_sampler(vectors, targets), 0)
    families = [{int(family[targets[index]]) for _, index, _ in keys[start:start + 8]} for start in range(0, len(keys), 8)]
    assert len(keys) == 128 and all(len(found) == 1 for found in families)
    assert {min(found) for found in families} == {0, 1, 2, 3}
    assert Counter(index for _, index, _ in keys) == Counter(range(128))  # and every image is seen once


def test_the_nearest_classes_that_are_left_join_the_one_that_was_drawn() -> None:
    """Against a loop: of every four classes of a batch, the last three are the nearest to the first among those not yet drawn."""
    targets = [label for label in range(20) for _ in range(4)]
    vectors = torch.randn(20, 6, generator=torch.Generator().manual_seed(1))
    sampler = similar_sampler(vectors, targets, batch_size=16)
    keys = epoch_of(sampler, 0)
    cosine = torch.nn.functional.cosine_similarity(vectors[:, None], vectors[None], dim=2)
    classes = [targets[index] for _, index, _ in keys[:16:2]]  # two images each
    for start in (0, 4):
        first = classes[start]
        others = [label for label in range(20) if label not in classes[:start + 1]]
        nearest = sorted(others, key=lambda label: -cosine[first, label].item())[:3]
        assert classes[start + 1:start + 4] == nearest


@pytest.mark.parametrize('vectors', [None, torch.zeros(8, 3)])
def test_classes_that_are_not_known_yet_are_drawn_at_random(vectors: torch.Tensor | None) -> None:
    targets = [label for label in range(8) for _ in range(8)]
    assert epoch_of(similar_sampler(vectors, targets), 3) == epoch_of(BalancedSampler(targets, 8, 2), 3)


def test_similar_batches_are_shared_by_processes_and_start_in_the_middle() -> None:
    targets = [label for label in range(12) for _ in range(8)]
    vectors = torch.randn(12, 3, generator=torch.Generator().manual_seed(2))
    whole = epoch_of(similar_sampler(vectors, targets, 16), 1)
    first, second = (epoch_of(similar_sampler(vectors, targets, rank=rank, world=2), 1) for rank in range(2))
    pairs = zip(range(0, len(first), 8), range(0, len(second), 8), strict=True)
    assert [key for a, b in pairs for key in first[a:a + 8] + second[b:b + 8]] == whole
    assert epoch_of(similar_sampler(vectors, targets, 16), 1, 24) == whole[24:]


def test_a_class_without_images_is_never_drawn() -> None:
    targets = [label for label in (0, 1, 2, 4, 5, 6) for _ in range(4)]  # class 3 has none
    vectors = torch.randn(7, 3, generator=torch.Generator().manual_seed(3))
    sampler = similar_sampler(vectors, targets)
    assert {targets[index] for epoch in range(4) for _, index, _ in epoch_of(sampler, epoch)} == {0, 1, 2, 4, 5, 6}
