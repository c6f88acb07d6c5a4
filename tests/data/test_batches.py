"""Batches hold the images that reading one by one gives, in order, and do not wait for paths that are still to come."""

import os
import signal
import threading
import time
from queue import Queue

import pytest
import torch

from fgvc_zoo import UserError
from fgvc_zoo.data import eval_transform, load_batches, load_image

TRANSFORM = eval_transform(32, (0.5,) * 3, (0.5,) * 3, 'bicubic', 0.9)


@pytest.fixture
def mixed(photos, tmp_path):
    """Six photographs with a damaged file and a missing one between them."""
    bad = tmp_path / 'bad.jpg'
    bad.write_bytes(b'nothing')
    good = sorted((photos / 'test').rglob('*.jpg'))
    return [bad, *good[:3], tmp_path / 'missing.jpg', *good[3:]]


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('kind', [list, iter])
@pytest.mark.parametrize('size', [1, 3, 100])
def test_equals_reading_one_by_one(mixed, workers, kind, size):
    paths, images, failed = [], [], []
    for batch in load_batches(kind(mixed), TRANSFORM, size, workers):
        assert 1 <= len(batch.paths) <= size
        assert (batch.images is None) == (len(batch.errors) == len(batch.paths))
        failed += [batch.paths[index] for index in batch.errors]
        paths += batch.paths
        images += [] if batch.images is None else list(batch.images)
    assert paths == mixed
    assert failed == [mixed[0], mixed[4]]
    expected = [TRANSFORM(load_image(path)) for path in mixed if path not in failed]
    assert torch.equal(torch.stack(images), torch.stack(expected))


def test_a_sequence_is_cut_into_full_batches(mixed):
    assert [len(batch.paths) for batch in load_batches(mixed, TRANSFORM, 3, 2)] == [3, 3, 2]


@pytest.mark.parametrize('workers', [0, 2])
def test_a_path_is_answered_before_the_next_one_is_known(mixed, workers):
    """The next path is given only after the answer to the one before: a loader that waits for it would wait for ever."""
    answered = Queue()

    def paths():
        for index, path in enumerate(mixed[1:4]):
            if index:
                assert answered.get(timeout=60) == mixed[index]
            yield path

    for batch in load_batches(paths(), TRANSFORM, 16, workers):
        for path in batch.paths:
            answered.put(path)
    assert answered.get(timeout=1) == mixed[3]


@pytest.mark.parametrize('workers', [0, 2])
def test_an_error_of_the_paths_comes_after_the_answers_before_it(mixed, workers):
    def paths():
        yield from mixed[1:3]
        raise OSError('the list ends here')

    seen = []
    with pytest.raises(OSError, match='the list ends here'):
        for batch in load_batches(paths(), TRANSFORM, 1, workers):
            seen += batch.paths
    assert seen == mixed[1:3]


def test_paths_are_read_at_most_a_few_batches_ahead(mixed):
    """A list that never ends needs no more memory than a short one."""
    taken = []

    def endless():
        while True:
            taken.append(None)
            yield mixed[1]

    batches = load_batches(endless(), TRANSFORM, 2, 2)
    for _ in range(3):
        next(batches)
    time.sleep(0.5)
    assert len(taken) <= 2 * (3 + 2 * 2 + 1) + 2  # given, asked for ahead, in the queue, and two between
    batches.close()
    deadline = time.monotonic() + 10
    while any('_read' in thread.name for thread in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any('_read' in thread.name for thread in threading.enumerate())


def test_a_killed_process_is_one_sentence(mixed):
    def kill(image):
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(UserError, match='a process that loads images was killed'):
        list(load_batches(mixed, kill, 2, 1))


def test_other_errors_are_not_hidden(mixed):
    def fail(image):
        raise RuntimeError('of the transform')

    for workers in (0, 1):
        with pytest.raises(RuntimeError, match='of the transform'):
            list(load_batches(mixed, fail, 2, workers))
