"""What the processes of one training share: rows, sums and random numbers. With one process, or none started, everything is its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def share() -> tuple[int, int]:
    """Number of this process, from 0, and the number of processes.

    Process r of n holds the rows [r * B, (r + 1) * B) of a batch of n * B images.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


def gather(x: Tensor) -> Tensor:
    """Rows of every process in rank order, (world * B, ...); `x` itself with one process. No gradient."""
    world = share()[1]
    if world == 1:
        return x
    parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(world)]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts)


def gather_with_gradient(x: Tensor) -> Tensor:
    """Rows of every process in rank order, (world * B, ...); `x` itself with one process.

    The gradient of a process's rows is the sum over the processes' losses. If every process computes the same loss from
    the gathered rows, averaging gradients over processes, as data parallel training does, gives that loss's gradient exactly.
    """
    return x if share()[1] == 1 else _Gather.apply(x)


def sum_with_gradient(x: Tensor) -> Tensor:
    """The sum over the processes; its gradient is the sum over the processes' losses."""
    return x if share()[1] == 1 else _Sum.apply(x)


@contextmanager
def shared_random(device: torch.device) -> Iterator[None]:
    """Within this context every process draws the random numbers that the first one draws.

    The other processes go on afterwards as if they had drawn nothing. With one process nothing changes.

    Args:
        device: Where the numbers are drawn, 'cpu' or 'cuda'.
    """
    rank, world = share()
    if world == 1:
        yield
        return
    cuda = device.type == 'cuda'
    own = torch.cuda.get_rng_state(device) if cuda else torch.get_rng_state()
    common = own.to(device).clone()
    dist.broadcast(common, 0)
    _set_rng_state(common.cpu(), device)
    try:
        yield
    finally:
        if rank:
            _set_rng_state(own, device)


def _set_rng_state(state: Tensor, device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return gather(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        rank, world = share()
        return total.chunk(world)[rank]


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Sum.forward(ctx, gradient)
