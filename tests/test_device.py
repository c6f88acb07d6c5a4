"""Options that several commands share."""

import sys

import pytest

from fgvc_zoo import UserError
from fgvc_zoo._device import choose_device
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
