"""Files are written whole or not at all, and their checksums are the usual ones."""

import json
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from fgvc_zoo import UserError
from fgvc_zoo._files import (
    atomic_write,
    check_output,
    cpu_state_dict,
    git_sha1,
    half_precision,
    read_weights,
    sha256,
    without_folders,
    write_json,
    write_weights,
)


def test_json_is_written_into_a_new_folder(tmp_path):
    write_json(tmp_path / 'new' / 'file.json', dict(name='Ä'))
    assert json.loads((tmp_path / 'new' / 'file.json').read_text(encoding='utf-8')) == dict(name='Ä')
    assert [path.name for path in (tmp_path / 'new').iterdir()] == ['file.json']


def test_a_full_disk_leaves_nothing_behind(tmp_path):
    """/dev/full refuses every write."""
    def write(path):
        with open('/dev/full', 'wb', buffering=0) as file:
            file.write(b'x')

    with pytest.raises(UserError, match='No space left'):
        atomic_write(tmp_path / 'x', write)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_keeps_the_previous_file(tmp_path):
    path = tmp_path / 'x'
    path.write_text('old')

    def write(part):
        part.write_text('half of it')
        raise OSError(5, 'Input/output error')

    with pytest.raises(UserError, match='Input/output error, the previous one is kept'):
        atomic_write(path, write)
    assert path.read_text() == 'old' and list(tmp_path.iterdir()) == [path]


def test_weights_are_as_readable_as_other_files(tmp_path):
    """safetensors itself makes files that only their owner can read."""
    atomic_write(tmp_path / 'weights', lambda part: save_file({'x': torch.zeros(1)}, part))
    (tmp_path / 'other').touch()
    assert (tmp_path / 'weights').stat().st_mode == (tmp_path / 'other').stat().st_mode


def test_checksums(tmp_path):
    path = tmp_path / 'file'
    path.write_bytes(b'hello\n' * 300000)  # longer than one block
    assert sha256(path) == subprocess.run(['sha256sum', path], capture_output=True, text=True, check=True).stdout.split()[0]
    assert git_sha1(path) == subprocess.run(['git', 'hash-object', path], capture_output=True, text=True, check=True).stdout.strip()


def test_state_dicts(tmp_path):
    model = torch.nn.BatchNorm1d(3)
    model.bias = model.weight  # safetensors refuses tensors that share memory
    state = cpu_state_dict(model)
    save_file(state, tmp_path / 'weights')
    assert load_file(tmp_path / 'weights').keys() == model.state_dict().keys()
    rounded = half_precision(state)
    assert rounded['weight'].dtype == torch.float16 and rounded['num_batches_tracked'].dtype == torch.int64


@pytest.mark.parametrize(('command', 'expected'), [
    ('fgvc-zoo evaluate /home/me/run --data cub200:/data/cub/ --json=/x/y.json', 'fgvc-zoo evaluate run --data cub200:cub --json=y.json'),
    ('fgvc-zoo evaluate runs/a --data cub200:../data/cub', 'fgvc-zoo evaluate runs/a --data cub200:../data/cub'),
    ("fgvc-zoo evaluate '/home/me/my run' --data folder:~/photos", "fgvc-zoo evaluate 'my run' --data folder:photos"),
    ("fgvc-zoo evaluate 'C:\\Users\\me\\run' --lr 1e-3", 'fgvc-zoo evaluate run --lr 1e-3'),
    ("it's", '\'it\'"\'"\'s\''),
])
def test_a_published_command_names_no_folder_of_a_machine(command, expected):
    assert without_folders(command) == expected


def test_damaged_weights_are_found(tmp_path):
    """safetensors itself accepts any bits as numbers."""
    path = tmp_path / 'x.safetensors'
    state = {'b': torch.arange(6.0).reshape(2, 3), 'a': torch.tensor(3), 'c': torch.ones(4, dtype=torch.float16)}
    write_weights(path, state)
    assert all(torch.equal(value, state[key]) for key, value in read_weights(path).items())
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match='its checksum differs'):
        read_weights(path)
    save_file(state, path)  # one without a checksum, from elsewhere
    assert read_weights(path).keys() == state.keys()


def test_outputs_are_checked_before_the_work(tmp_path):
    check_output(tmp_path / 'new' / 'result.json', 'metrics')
    assert list((tmp_path / 'new').iterdir()) == []
    write_json(tmp_path / 'result.json', dict(model='x', metrics=1))
    check_output(tmp_path / 'result.json', 'model', 'metrics')  # an earlier result may be replaced
    assert json.loads((tmp_path / 'result.json').read_text()) == dict(model='x', metrics=1)
    (tmp_path / 'photo.jpg').write_bytes(b'\xff\xd8 precious')
    write_json(tmp_path / 'config.json', dict(architecture='resnet18'))
    write_json(tmp_path / 'number.json', 3)
    write_json(tmp_path / 'package.json', dict(name='x', metrics=dict(bundle=1)))
    for name in ('photo.jpg', 'config.json', 'number.json', 'package.json'):
        with pytest.raises(UserError, match='is no earlier result, so it is not overwritten'):
            check_output(tmp_path / name, 'model', 'metrics')
    with pytest.raises(UserError, match='is no file'):
        check_output(tmp_path / 'new', 'metrics')
    with pytest.raises(UserError, match="give its name instead of '-'"):
        check_output(Path('-'), 'metrics')
    with pytest.raises(UserError, match='nothing can be written to'):
        check_output(tmp_path / 'photo.jpg' / 'result.json', 'metrics')


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / 'real').mkdir()
    link = tmp_path / 'result.json'
    link.symlink_to(tmp_path / 'real' / 'result.json')
    for value in (1, 2):  # a new file, then an earlier one
        write_json(link, value)
        assert link.is_symlink()
        assert json.loads((tmp_path / 'real' / 'result.json').read_text()) == value
    assert [path.name for path in (tmp_path / 'real').iterdir()] == ['result.json']


def test_names_that_are_no_utf8_can_be_written(tmp_path):
    name = b'd\xff'.decode('utf-8', 'surrogateescape')
    write_json(tmp_path / 'a.json', {'file': name, 'class': 'é'})
    assert json.loads((tmp_path / 'a.json').read_text(encoding='utf-8')) == {'file': name, 'class': 'é'}
