"""Resumable state: whole or not at all, and never a pickle."""

import errno

import pytest
import torch
from timm.optim import create_optimizer_v2

from fgvc_zoo import UserError
from fgvc_zoo.training import checkpoint
from fgvc_zoo.training.checkpoint import load_checkpoint, load_state, save_checkpoint, save_state


def test_round_trip_of_an_optimizer(tmp_path):
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    state = dict(optimizer=optimizer.state_dict(), nothing=None, rows=[dict(epoch=1, loss=0.5)], flag=True, empty={}, zero=torch.zeros(()))
    save_state(tmp_path / 'state', state)
    found = load_state(tmp_path / 'state')
    other = torch.optim.AdamW(model.parameters())
    other.load_state_dict(found['optimizer'])
    for parameter in model.parameters():
        for key, value in optimizer.state[parameter].items():
            assert torch.equal(other.state[parameter][key], value)
    assert {key: found[key] for key in ('nothing', 'rows', 'flag', 'empty')} == {
        'nothing': None, 'rows': [dict(epoch=1, loss=0.5)], 'flag': True, 'empty': {}}


def test_tuples_and_dtypes_come_back_as_such(tmp_path):
    state = dict(betas=(0.9, 0.999), nested=[(1, (torch.ones(2), 'a'))], kind=torch.bfloat16, rows=[1, 2])
    save_state(tmp_path / 'state', state)
    found = load_state(tmp_path / 'state')
    assert found['betas'] == (0.9, 0.999) and found['kind'] is torch.bfloat16 and found['rows'] == [1, 2]
    (number, (tensor, letter)), = found['nested']
    assert (number, letter) == (1, 'a') and torch.equal(tensor, torch.ones(2))


@pytest.mark.parametrize('name', ['adafactorbv', 'sgd', 'lamb'])
def test_an_optimizer_goes_on(name, tmp_path):
    weights = []
    for interrupted in (False, True):
        torch.manual_seed(0)
        parameter = torch.nn.Parameter(torch.randn(4, 3))

        def make(parameter=parameter):
            return create_optimizer_v2([parameter], opt=name, lr=0.1)

        optimizer = make()
        for step in range(4):
            if interrupted and step == 2:
                save_state(tmp_path / 'state', optimizer.state_dict())
                optimizer = make()
                optimizer.load_state_dict(load_state(tmp_path / 'state'))
            parameter.grad = parameter.detach() * (step + 1)
            optimizer.step()
        weights.append(parameter.detach().clone())
    assert torch.equal(*weights)


def test_shared_memory_is_stored_twice(tmp_path):
    weight = torch.randn(4)
    save_state(tmp_path / 'state', dict(a=weight, b=weight, c=weight[1:]))
    found = load_state(tmp_path / 'state')
    assert torch.equal(found['a'], found['b'])
    assert torch.equal(found['c'], weight[1:])


def test_full_disk_keeps_the_previous_file(tmp_path, monkeypatch):
    path = tmp_path / 'state'
    save_state(path, dict(step=1))

    def full(tensors, part, metadata):
        part.write_bytes(b'half of it')
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(checkpoint, 'save_file', full)
    with pytest.raises(UserError, match='No space left on device, the previous one is kept'):
        save_state(path, dict(step=2))
    assert [item.name for item in tmp_path.iterdir()] == ['state']
    assert load_state(path) == dict(step=1)


@pytest.mark.parametrize('damage', ['cut', 'text', 'pickle', 'empty'])
def test_damaged_files_are_named(tmp_path, damage):
    path = tmp_path / 'state'
    save_state(path, dict(weight=torch.randn(100)))
    if damage == 'cut':
        path.write_bytes(path.read_bytes()[:200])
    elif damage == 'text':
        path.write_text('hello, this is no checkpoint')
    elif damage == 'pickle':
        torch.save(dict(weight=torch.randn(3)), path)
    else:
        path.write_bytes(b'')
    with pytest.raises(UserError, match='is damaged'):
        load_state(path)


def test_other_safetensors_are_refused(tmp_path):
    from safetensors.torch import save_file
    save_file(dict(weight=torch.zeros(2)), tmp_path / 'state')
    with pytest.raises(UserError, match='not a training checkpoint'):
        load_state(tmp_path / 'state')


def test_flipped_bits_are_found_and_the_checkpoint_before_is_used(tmp_path):
    save_checkpoint(tmp_path, dict(weight=torch.arange(100.0), step=1))
    save_checkpoint(tmp_path, dict(weight=torch.arange(100.0) + 1, step=2))
    assert load_checkpoint(tmp_path)['step'] == 2
    path = tmp_path / checkpoint.CHECKPOINT
    content = bytearray(path.read_bytes())
    content[-50] ^= 16
    path.write_bytes(content)
    with pytest.raises(UserError, match='its checksum differs'):
        load_state(path)
    with pytest.warns(UserWarning, match='goes on from the checkpoint before it'):
        state = load_checkpoint(tmp_path)
    assert state['step'] == 1 and torch.equal(state['weight'], torch.arange(100.0))
    path.unlink()
    with pytest.warns(UserWarning):
        assert load_checkpoint(tmp_path)['step'] == 1
    (tmp_path / checkpoint.PREVIOUS).unlink()
    with pytest.raises(UserError):
        load_checkpoint(tmp_path)


def test_a_checkpoint_without_a_checksum_is_read(tmp_path):
    """Older versions wrote none."""
    from safetensors.torch import save_file
    structure = '{"__dict__": [["weight", {"__tensor__": "0"}]]}'
    save_file({'0': torch.ones(2)}, tmp_path / 'state', metadata={'structure': structure})
    assert torch.equal(load_state(tmp_path / 'state')['weight'], torch.ones(2))
