"""Options that several commands share."""

import sys

import pytest

from fgvc_zoo import UserError
from fgvc_zoo._device import choose_device, enough_memory
from fgvc_zoo_cli._common import command_line


def test_device():
    assert choose_device('cpu').type == 'cpu'
    assert choose_device('meta').type == 'meta'
    with pytest.raises(UserError, match="the device 'gpu' cannot be used here .*; try --device cpu"):
        choose_device('gpu')


def test_without_a_name_the_accelerator_is_taken_if_there_is_one(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert choose_device(None).type == 'cpu'
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch, 'empty', lambda *_, **__: None)
    assert choose_device(None).type == 'cuda'


def test_command_line(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['/usr/bin/fgvc-zoo', 'train', '--epochs', '3'])
    assert command_line() == 'fgvc-zoo train --epochs 3'


@pytest.mark.parametrize(('message', 'says'), [
    ('CUDA out of memory. Tried to allocate 20.00 GiB.', 'the memory is full: use a smaller batch'),
    ("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory", 'the memory is full: use a smaller batch'),
    ('DataLoader worker (pid 7) is killed by signal: Bus error.', 'was killed, .*: use fewer workers or a smaller batch'),
])
def test_too_little_memory_is_one_sentence(message, says):
    with pytest.raises(UserError, match=says), enough_memory('a smaller batch'):
        raise RuntimeError(message)


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match='mat1 and mat2'), enough_memory('a smaller batch'):
        raise RuntimeError('mat1 and mat2 shapes cannot be multiplied')
