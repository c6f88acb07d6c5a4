"""Batches of decoded image files, read in processes beside the model, for any number of files and for paths that are still to come."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Event, Thread
from types import FrameType
from typing import Any, NamedTuple

from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from fgvc_zoo._device import enough_memory
from fgvc_zoo.data.images import ImageError, load_image


class ImageBatch(NamedTuple):
    """Some image files, decoded.

    Attributes:
        paths: The files, in the order given.
        images: (N, 3, S, S) float32, one for each file that could be read; None if none could.
        errors: Why a file could not be read, by its index in `paths`.
    """

    paths: list[str | Path]
    images: Tensor | None
    errors: dict[int, str]


def load_batches(
        paths: Iterable[str | Path], transform: Callable[[Image.Image], Tensor], batch_size: int, workers: int = 0,
        pin_memory: bool = False) -> Iterator[ImageBatch]:
    """Decode image files in batches, in order. At most `2 * workers + 1` batches are in memory.

    Args:
        paths: Image files. A sequence is cut into full batches. Any other iterable is read by a thread, at most one batch ahead: a batch
            begins as soon as there is a path, and is not full if the next path is not there yet. So a path is answered before the next one
            is known.
        transform: RGB image -> float32 (3, S, S). With `workers` it must be possible to pickle it where processes are not forked.
        batch_size: Largest number of files of a batch.
        workers: Processes that decode; 0 decodes in this one.
        pin_memory: Copy the images into page-locked memory, from which CUDA copies faster.

    Raises:
        UserError: A process that decodes was killed.
    """
    pending: deque[list[str | Path]] = deque()  # batches that were asked for, and not yet given to the caller
    loader = DataLoader(
        _Decoded(transform), batch_sampler=_cut(paths, batch_size, pending), num_workers=workers, collate_fn=_collate,
        pin_memory=pin_memory, worker_init_fn=outlast_signal)
    decoded = iter(loader)
    while True:
        try:
            with enough_memory('a smaller batch'):
                images, errors = next(decoded)
        except StopIteration:
            return
        batch = pending.popleft()
        if batch:
            yield ImageBatch(batch, images, errors)


class _Decoded(Dataset[Any]):
    """Maps a path to its tensor, or to the sentence that says why it cannot be read."""

    def __init__(self, transform: Callable[[Image.Image], Tensor]) -> None:
        self.transform = transform

    def __getitem__(self, path: str | Path) -> Tensor | str:
        try:
            return self.transform(load_image(path))
        except ImageError as error:
            return str(error)


def _collate(decoded: list[Tensor | str]) -> tuple[Tensor | None, dict[int, str]]:
    errors = {index: item for index, item in enumerate(decoded) if isinstance(item, str)}
    tensors = [item for item in decoded if isinstance(item, Tensor)]
    # stacks into shared memory in a process that decodes: a copy later would fragment the memory of that process
    return default_collate(tensors) if tensors else None, errors


def outlast_signal(worker: int) -> None:
    """Let a process that loads images pass over the first SIGINT and SIGTERM. A second one acts as usual.

    A terminal, `timeout` or a cluster sends them to every process of a run, and PyTorch ends the main one when such a process dies.

    Args:
        worker: Its number; as PyTorch's `worker_init_fn` wants it.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _pass_over)


def _pass_over(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)


def _cut(paths: Iterable[str | Path], size: int, pending: deque[list[str | Path]]) -> Iterator[list[str | Path]]:
    """Batches of paths, each appended to `pending`.

    A DataLoader asks for batches ahead, and returns none while it waits for one. So an empty batch is given while no path has come and
    others are pending: their answers must not wait.
    """
    if isinstance(paths, Sequence):
        todo = iter(paths)
        while batch := list(islice(todo, size)):
            pending.append(batch)
            yield batch
        return
    reader = _Reader(paths, size)
    try:
        while (batch_or_end := reader.take(size, wait=not any(pending))) is not None:
            pending.append(batch_or_end)
            yield batch_or_end
    finally:
        reader.stop()


class _Reader:
    """Reads an iterable in a thread, so that it can be asked for what is there.

    Args:
        items: The iterable.
        ahead: Largest number of items that are read and not yet taken.
    """

    def __init__(self, items: Iterable[Any], ahead: int) -> None:
        self._items, self._queue, self._stopped = items, Queue[Any](ahead), Event()
        self._end: _End | None = None
        Thread(target=self._read, daemon=True).start()

    def take(self, size: int, wait: bool) -> list[Any] | None:
        """Up to `size` items that are there; none, or with `wait` the first that comes, if there are none; None at the end.

        Raises:
            BaseException: What the iterable raised, if `wait` is true.
        """
        taken: list[Any] = []
        while self._end is None and len(taken) < size:
            try:
                item = self._queue.get(block=wait and not taken)
            except Empty:
                return taken
            if isinstance(item, _End):
                self._end = item
            else:
                taken.append(item)
        if taken or self._end is None or (self._end.error is not None and not wait):
            return taken
        if self._end.error is not None:
            raise self._end.error
        return None

    def stop(self) -> None:
        """Read no further."""
        self._stopped.set()

    def _read(self) -> None:
        try:
            for item in self._items:
                if not self._put(item):
                    return
            self._put(_End(None))
        except BaseException as error:  # raised where the items are taken
            self._put(_End(error))

    def _put(self, item: Any) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=0.5)
            except Full:
                continue
            return True
        return False


class _End(NamedTuple):
    """The end of an iterable, and the error that it ended with."""

    error: BaseException | None
