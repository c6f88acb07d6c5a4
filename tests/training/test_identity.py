"""Only the same run goes on, every difference is named, and a folder holds one run."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from fgvc_zoo import UserError
from fgvc_zoo.data import open_dataset
from fgvc_zoo.recipes import load_recipe
from fgvc_zoo.training import TrainConfig, train
from fgvc_zoo.training.identity import check_identity, identity, run_folder
from fgvc_zoo.training.trainer import Run


@pytest.fixture
def photos(tmp_path):
    generator = np.random.default_rng(0)
    for name in ('ant', 'bee', 'yak'):
        folder = tmp_path / 'photos' / name
        folder.mkdir(parents=True)
        for index in range(4):
            Image.fromarray(generator.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(folder / f'{index}.png')
    return tmp_path / 'photos'


@pytest.fixture
def config(photos, tmp_path):
    recipe = load_recipe('baseline').replace(epochs=1, batch_size=4, input_size=32)
    return TrainConfig('test_resnet', f'folder:{photos}', str(tmp_path / 'run'), recipe, pretrained_backbone=False, workers=0, device='cpu',
                       progress=False)


@pytest.fixture
def finished(config):
    train(config)
    return replace(config, resume=True)


def add_class(photos):
    (photos / 'ant').rename(photos / 'cow')


def add_photo(photos):
    Image.new('RGB', (40, 40)).save(photos / 'ant' / '9.png')


def change_photo(photos):
    Image.new('RGB', (40, 40)).save(photos / 'ant' / '0.png')


@pytest.mark.parametrize(('change', 'says'), [
    (dict(seed=1), 'seed: 0, now 1'),
    (dict(train_split='fit'), 'train split: train, now fit'),
    (dict(model='test_resnet.r160_in1k'), 'model: test_resnet, now test_resnet.r160_in1k'),
])
def test_another_run_is_refused(finished, change, says):
    with pytest.raises(UserError, match=says):
        train(replace(finished, **change))


def test_each_setting_is_named(finished):
    recipe = finished.recipe.replace(lr=0.5, **{'augmentation.hflip': 0.25})
    with pytest.raises(UserError, match=r'recipe lr: 0\.01, now 0\.5.*recipe augmentation\.hflip: 0\.5, now 0\.25'):
        train(replace(finished, recipe=recipe))


def test_other_backbone_weights_are_refused(finished, tmp_path):
    run = Path(finished.output)
    with pytest.raises(UserError, match='backbone weights: False, now [0-9a-f]{64}'):
        train(replace(finished, pretrained_backbone=str(run / 'model.safetensors')))


def test_a_finished_run_is_not_given_other_names(finished, photos):
    before = Path(finished.output, 'config.json').read_bytes()
    add_class(photos)
    with pytest.raises(UserError, match="classes: added 'cow', removed 'ant'"):
        train(replace(finished, accept_changes=True))
    assert Path(finished.output, 'config.json').read_bytes() == before


@pytest.mark.parametrize(('change', 'says'), [(add_photo, 'images: 12, now 13'), (change_photo, 'as many as before, but other files')])
def test_other_images_need_a_word(finished, photos, change, says):
    change(photos)
    with pytest.raises(UserError, match=f'{says}.*--accept-changes'):
        train(finished)
    with pytest.warns(UserWarning, match=says):
        train(replace(finished, accept_changes=True))


def test_another_number_of_processes_is_another_run(finished, photos):
    dataset = open_dataset(f'folder:{photos}', 'train')
    one, two = (identity(finished, dataset, count) for count in (1, 2))
    with pytest.raises(UserError, match='processes: 2, now 1'):
        check_identity(two, one, Path('run'), True)
    del two['processes']
    check_identity(two, one, Path('run'), False)  # of an older version


def test_fewer_images_in_the_middle_of_an_epoch_begin_it_again(config, photos, monkeypatch):
    monkeypatch.setattr('fgvc_zoo.training.trainer.CHECKPOINT_SECONDS', -1)  # after every step

    def stop(run, _bar, _task, old=Run._train_epoch):
        run._agree = lambda step, due: (15 if step == 2 else 0, True)
        old(run, _bar, _task)

    with monkeypatch.context() as patch:
        patch.setattr(Run, '_train_epoch', stop)
        with pytest.raises(SystemExit):
            train(config)
    for name in ('ant', 'bee', 'yak'):
        for index in range(2):
            (photos / name / f'{index}.png').unlink()
    with pytest.warns(UserWarning, match='images: 12, now 6'):
        train(replace(config, resume=True, accept_changes=True))
    assert (Path(config.output) / 'model.safetensors').is_file()


def test_the_place_of_the_photographs_does_not_count(finished, photos, tmp_path):
    photos.rename(tmp_path / 'moved')
    before = load_file(Path(finished.output, 'model.safetensors'))
    train(replace(finished, data=f"folder:{tmp_path / 'moved'}"))
    assert all((before[key] == value).all() for key, value in load_file(Path(finished.output, 'model.safetensors')).items())


@pytest.mark.parametrize('exists', [False, True])
def test_nothing_to_resume(config, tmp_path, exists):
    if exists:
        (tmp_path / 'run').mkdir()
    with pytest.raises(UserError, match='no checkpoint in'):
        train(replace(config, resume=True))


@pytest.mark.parametrize('name', ['model.safetensors', 'result.json'])
def test_a_file_that_a_run_writes_is_not_overwritten(config, tmp_path, name):
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / name).write_text('precious')
    with pytest.raises(UserError, match=f"already holds '{name}'"):
        train(config)
    assert (tmp_path / 'run' / name).read_text() == 'precious'


def test_a_file_is_no_run_folder(config, tmp_path):
    (tmp_path / 'run').write_text('precious')
    with pytest.raises(UserError, match='cannot be a run folder'):
        train(config)


def test_two_runs_in_one_folder(tmp_path):
    """The second is refused; a process that was killed leaves no lock behind."""
    code = ('import sys, time; from pathlib import Path; from fgvc_zoo.training.identity import run_folder\n'
            'with run_folder(Path(sys.argv[1]), False): print("taken", flush=True); time.sleep(100)')
    env = dict(os.environ, PYTHONPATH=str(Path(__file__).parents[2]))
    with subprocess.Popen([sys.executable, '-c', code, str(tmp_path)], env=env, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b'taken\n'
        with pytest.raises(UserError, match='another process trains in'), run_folder(tmp_path, False):
            pass
        other.kill()
    with run_folder(tmp_path, False):
        pass


def test_a_checkpoint_of_an_older_version_goes_on(finished):
    from fgvc_zoo.training.checkpoint import load_checkpoint, save_checkpoint

    folder = Path(finished.output)
    state = load_checkpoint(folder)
    state['identity'] = {key: state['identity'][key] for key in ('model', 'recipe', 'seed', 'train_split')}
    del state['identity']['recipe']['decay_rate']
    save_checkpoint(folder, json.loads(json.dumps(state['identity'])) and state)
    train(finished)


@pytest.mark.parametrize(('before', 'after', 'says'), [
    ({'drop_rate': 0.5}, {}, r'recipe model_args\.drop_rate: 0\.5, now not given'),
    ({}, {'drop_rate': 0.5}, r'recipe model_args\.drop_rate: not given, now 0\.5'),
    ({'drop_rate': 0.5, 'global_pool': 'avg'}, {'drop_rate': 0.1, 'global_pool': 'avg'}, r'recipe model_args\.drop_rate: 0\.5, now 0\.1'),
])
def test_other_arguments_of_the_model_are_another_run(config, before, after, says):
    dataset = open_dataset(config.data, 'train')
    saved, now = (identity(replace(config, recipe=config.recipe.replace(model_args=args)), dataset, 1) for args in (before, after))
    check_identity(saved, saved, Path('run'), accept_changes=False)
    with pytest.raises(UserError, match=says):
        check_identity(saved, now, Path('run'), accept_changes=True)


def test_an_error_of_the_training_does_not_blame_the_folder(tmp_path):
    with pytest.raises(PermissionError, match='of a photograph'), run_folder(tmp_path / 'run', resume=False):
        raise PermissionError('of a photograph')
    with run_folder(tmp_path / 'run', resume=False):  # it is free again
        pass
