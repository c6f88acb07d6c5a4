from __future__ import annotations

import pytest

from fgvc_zoo._errors import UserError
from fgvc_zoo.data import EpochSampler


def epoch_of(sampler: EpochSampler, epoch: int, start: int = 0) -> list[tuple[int, int]]:
    sampler.set_epoch(epoch, start)
    keys = list(sampler)
    assert len(keys) == len(sampler)
    return keys


def test_yields_whole_batches_of_distinct_images() -> None:
    keys = epoch_of(EpochSampler(23, batch_size=4), 3)
    assert len(keys) == 20
    assert {epoch for epoch, _ in keys} == {3}
    indices = [index for _, index in keys]
    assert len(set(indices)) == 20 and set(indices) <= set(range(23))
    assert indices != sorted(indices)


def test_every_image_comes_when_the_length_divides() -> None:
    assert sorted(index for _, index in epoch_of(EpochSampler(24, batch_size=4), 0)) == list(range(24))


def test_order_is_a_function_of_seed_and_epoch() -> None:
    order = epoch_of(EpochSampler(40, 4, seed=1), 2)
    assert order == epoch_of(EpochSampler(40, 4, seed=1), 2)
    indices = [index for _, index in order]
    for seed, epoch in ((1, 3), (2, 2), (2, 1)):
        assert indices != [index for _, index in epoch_of(EpochSampler(40, 4, seed=seed), epoch)]


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
    with pytest.raises(UserError, match='of an epoch that has 8'):
        EpochSampler(8, batch_size=4).set_epoch(0, start)


@pytest.mark.parametrize('arguments', [
    dict(batch_size=0), dict(rank=2, world=2), dict(rank=-1), dict(batch_size=5, world=2)])
def test_bad_arguments(arguments: dict[str, int]) -> None:
    with pytest.raises(UserError):
        EpochSampler(9, **{'batch_size': 1, **arguments})
