"""Where a run starts, and how it goes on: trained weights with a new classifier, more epochs, models that are kept on the way."""

import csv
import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from fgvc_zoo import UserError
from fgvc_zoo.calibration import Calibration, calibration_of, fit_calibration
from fgvc_zoo.data import open_dataset
from fgvc_zoo.evaluation import collect_answers
from fgvc_zoo.loading import architecture_of, eval_transform_for, is_trained, load_model, trained_weights
from fgvc_zoo.recipes import load_recipe
from fgvc_zoo.run_record import fingerprint, read_run_record
from fgvc_zoo.saving import save_model
from fgvc_zoo.training import TrainConfig, state, train, trainer
from fgvc_zoo.training.models import build_model
from fgvc_zoo_cli import app

GROCERY = 'wsdan_tf_efficientnet_lite0.grocery81'
ARGS = {'model_args.backbone': 'test_resnet', 'model_args.num_maps': 4}


def make_photos(root, names):
    generator = np.random.default_rng(0)
    for label, name in enumerate(names):
        (root / 'train' / name).mkdir(parents=True)
        for index in range(6):
            pixels = generator.integers(0, 120, (56, 64, 3))
            pixels[..., label] += 100
            Image.fromarray(pixels.astype('uint8')).save(root / 'train' / name / f'{index}.png')
    return root


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    return make_photos(tmp_path_factory.mktemp('photos'), ['red', 'green'])


@pytest.fixture(scope='module')
def others(tmp_path_factory):
    return make_photos(tmp_path_factory.mktemp('others'), ['ant', 'bee', 'cat'])


def config(photos, output, epochs=2, **changes):
    recipe = load_recipe('wsdan').replace(epochs=epochs, batch_size=4, input_size=48, frozen_below=None, **ARGS)
    values = dict(model='wsdan', data=f'folder:{photos}', output=str(output), recipe=recipe, pretrained_backbone=False, workers=0,
                  device='cpu', progress=False)
    return TrainConfig(**{**values, **changes})


@pytest.fixture(scope='module')
def run(photos, tmp_path_factory):
    return train(config(photos, tmp_path_factory.mktemp('run') / 'first', epochs=1))


@pytest.mark.parametrize(('name', 'trained'), [
    (GROCERY, True), ('wsdan_tf_efficientnet_lite0', False), ('wsdan', False), ('wsdan_resnet50.cub9', True), ('hf-hub:me/birds', True),
    ('local-dir:runs', True), ('runs/birds', True), ('resnet50', False), ('resnet50.a1_in1k', False), ('birds', False)])
def test_which_names_mean_trained_weights(name, trained):
    assert is_trained(name) == trained


def test_a_folder_beside_the_command_is_one_and_an_architecture_stays_one(run, monkeypatch):
    (run.parent / 'resnet18').mkdir()
    monkeypatch.chdir(run.parent)
    assert is_trained('first') and not is_trained('resnet18')
    assert architecture_of('first') == architecture_of(str(run)) == 'wsdan'
    assert trained_weights('first').resolve() == run / 'model.safetensors'


@pytest.mark.parametrize('source', ['folder', GROCERY])
def test_a_run_starts_from_trained_weights_and_a_classifier_of_zeros(run, source):
    name = str(run) if source == 'folder' else source
    before = load_model(name)
    model = build_model(name, load_recipe('wsdan'), 3, pretrained_backbone=True)
    for key, value in model.state_dict().items():
        if key.startswith('classifier.'):
            assert len(value) == 3 and not value.any()
        else:
            assert torch.equal(value, before.state_dict()[key]), key
    cfg = model.pretrained_cfg
    assert cfg['input_size'] == before.pretrained_cfg['input_size']
    assert not {'label_names', 'tag', 'license', 'file', 'url', 'hf_hub_id'} & {key for key, value in cfg.items() if value}
    assert model.num_maps == before.num_maps and model.refine_threshold == before.refine_threshold
    assert model.start_license == (None if source == 'folder' else 'MIT')


def test_what_is_trained_from_a_run_belongs_to_the_new_classes(run, others, tmp_path):
    folder = train(config(others, tmp_path / 'second', model=str(run), pretrained_backbone=True, epochs=1))
    model = load_model(str(folder))
    assert model.pretrained_cfg['label_names'] == ['ant', 'bee', 'cat'] and model.num_maps == 4
    recipe = json.loads((folder / 'run.json').read_text())['config']['recipe']
    assert dict(backbone='test_resnet', num_maps=4).items() <= recipe['model_args'].items()
    again = timm.create_model(f'local-dir:{folder}', pretrained=True)
    assert again.num_classes == 3


def test_the_licence_of_the_first_weights_is_remembered(run, others, tmp_path):
    source = shutil.copytree(run, tmp_path / 'source')
    cfg = json.loads((source / 'config.json').read_text())
    cfg['pretrained_cfg']['license'] = 'research only'
    (source / 'config.json').write_text(json.dumps(cfg))
    for name in ('second', 'third'):
        train(config(others, tmp_path / name, model=str(source), pretrained_backbone=True, epochs=1))
        assert read_run_record(tmp_path / name)['start_license'] == 'research only'
        source = tmp_path / name


def test_other_trained_weights_are_another_run(run, others, tmp_path):
    source = tmp_path / 'source'
    source.mkdir()
    for name in ('config.json', 'model.safetensors'):
        (source / name).write_bytes((run / name).read_bytes())
    first = config(others, tmp_path / 'second', model=str(source), pretrained_backbone=True, epochs=1)
    train(first)
    weights = timm.create_model(f'local-dir:{source}', pretrained=True)
    torch.nn.init.zeros_(weights.classifier.bias)
    timm.models.save_for_hf(weights, source, safe_serialization=True)
    with pytest.raises(UserError, match='backbone weights: another file'):
        train(replace(first, resume=True))


@pytest.mark.parametrize(('name', 'changes', 'words'), [
    (GROCERY, dict(pretrained_backbone=False), "brings trained weights: .* train its architecture 'wsdan_tf_efficientnet_lite0'"),
    ('wsdan_tf_efficientnet_lite0.cub9', dict(pretrained_backbone=True), 'has no trained weights in this package'),
    ('./nowhere', dict(pretrained_backbone=True), "there is no model folder 'nowhere'")])
def test_what_cannot_be_started_from_is_named(photos, tmp_path, name, changes, words):
    with pytest.raises(UserError, match=words):
        train(config(photos, tmp_path / 'run', model=name, **changes))


def test_trained_weights_keep_their_input_size_where_the_backbone_has_one(photos, tmp_path):
    model = timm.create_model('wsdan', backbone='test_vit', num_classes=2)
    timm.models.save_for_hf(model, tmp_path, safe_serialization=True)
    side = model.pretrained_cfg['input_size'][-1]
    assert build_model(str(tmp_path), load_recipe('wsdan'), 2, True).pretrained_cfg['input_size'] == (3, side, side)
    with pytest.raises(UserError, match=f'takes images of {side} px only: leave out the input size 96'):
        build_model(str(tmp_path), load_recipe('wsdan').replace(input_size=96), 2, True)


def test_the_command_takes_the_recipe_of_the_weights_and_no_model_args(run, photos, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr('fgvc_zoo.training.train', lambda config: seen.append(config) or tmp_path)
    words = ['train', '--model', str(run), '--data', f'folder:{photos}', '--output', str(tmp_path / 'out')]
    assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    assert seen[0].recipe.task == 'wsdan'
    with pytest.raises(UserError, match=r"leave out 'model_args.num_maps', or train the architecture 'wsdan'"):
        CliRunner().invoke(app, [*words, '--set', 'model_args.num_maps=8'], catch_exceptions=False)


def test_a_run_can_be_made_longer_and_not_shorter(photos, tmp_path):
    short = config(photos, tmp_path / 'run', epochs=2)
    train(short)
    longer = replace(short, recipe=short.recipe.replace(epochs=4), resume=True)
    with pytest.warns(UserWarning, match='was made for 2 epochs and goes on to 4: its learning rate is that of the longer schedule'):
        train(longer)
    rows = list(csv.DictReader((tmp_path / 'run' / 'history.csv').open()))
    assert [row['epoch'] for row in rows] == ['1', '2', '3', '4']
    steps = 3  # an epoch; the row has the rate of its last step
    lowest = short.recipe.min_lr * short.recipe.lr
    for row, length in zip(rows[1:], (2, 4, 4), strict=True):
        done = (int(row['epoch']) * steps - 1) / (length * steps)
        assert float(row['lr']) == pytest.approx(lowest + (short.recipe.lr - lowest) * (1 + math.cos(math.pi * done)) / 2, abs=1e-6)
    with pytest.raises(UserError, match='recipe epochs: 4, now 2'):
        train(replace(short, resume=True))


class Cut(Exception):
    pass


def test_a_model_is_there_before_the_end_if_asked_for(photos, tmp_path, monkeypatch):
    train_epoch = trainer.Run._train_epoch

    def cut_third(run, *args):
        if run.epoch == 2:
            raise Cut
        train_epoch(run, *args)

    monkeypatch.setattr(trainer.Run, '_train_epoch', cut_third)
    for save_every, there in ((0, False), (2, True), (3, False)):
        output = tmp_path / str(save_every)
        with pytest.raises(Cut):
            train(config(photos, output, epochs=3, save_every=save_every))
        assert (output / 'model.safetensors').exists() == (output / 'config.json').exists() == there
    expected = load_model(str(train(config(photos, tmp_path / 'short', epochs=2)))) if there else load_model(str(tmp_path / '2'))
    assert expected.num_classes == 2


def test_the_best_epoch_is_kept_beside_the_last(photos, tmp_path, monkeypatch):
    kept = {}

    def measure(run, dataset):
        kept[run.epoch] = {key: value.clone() for key, value in run.final_model.state_dict().items()}
        return dict(holdout_top1=[50.0, 80.0, 80.0, 60.0][run.epoch])

    monkeypatch.setattr(trainer.Run, '_measure', measure)
    folder = train(config(photos, tmp_path / 'run', epochs=4, train_split='fit', eval_split='holdout', keep_best=True))
    best, last = load_file(folder / 'best' / 'model.safetensors'), load_file(folder / 'model.safetensors')
    assert all(torch.equal(best[key], value) for key, value in kept[1].items())  # the first of equal ones
    assert all(torch.equal(last[key], value) for key, value in kept[3].items())
    assert load_model(str(folder / 'best')).pretrained_cfg['label_names'] == ['green', 'red']
    whole, record = read_run_record(folder), read_run_record(folder / 'best')
    assert record == dict(whole, epoch=2)  # so that it is measured, calibrated and published as what it is


def test_the_best_epoch_of_a_run_that_goes_on_is_better_than_the_kept_one(photos, tmp_path, monkeypatch):
    accuracies = [70.0, 60.0, 65.0, 50.0]
    monkeypatch.setattr(trainer.Run, '_measure', lambda run, _: dict(holdout_top1=accuracies[run.epoch]))
    splits = dict(train_split='fit', eval_split='holdout')
    train(config(photos, tmp_path / 'run', epochs=1, **splits))  # nothing is kept yet
    with pytest.warns(UserWarning, match='goes on to 2'):
        train(config(photos, tmp_path / 'run', epochs=2, resume=True, keep_best=True, **splits))
    assert read_run_record(tmp_path / 'run' / 'best')['epoch'] == 2
    with pytest.warns(UserWarning, match='goes on to 4'):
        train(config(photos, tmp_path / 'run', epochs=4, resume=True, keep_best=True, **splits))
    assert read_run_record(tmp_path / 'run' / 'best')['epoch'] == 3


def test_photographs_that_are_trained_on_choose_no_epoch_and_are_named_where_they_are_measured(photos, tmp_path):
    words = "2 of the 2 photographs of 'holdout' are in 'train', which is trained on"
    with pytest.raises(UserError, match=words):
        train(config(photos, tmp_path / 'run', eval_split='holdout', keep_best=True))
    with pytest.warns(UserWarning, match=words):
        train(config(photos, tmp_path / 'other', epochs=1, eval_split='holdout'))


def test_a_split_with_other_classes_is_not_measured(photos, tmp_path, monkeypatch):
    """Of data whose splits have their own lists of classes; the same number would mean another class."""
    def other_classes(spec, split, **options):
        dataset = open_dataset(spec, split, **options)
        if split == 'holdout':
            dataset.class_names = dataset.class_names[::-1]
        return dataset

    monkeypatch.setattr(state, 'open_dataset', other_classes)
    with pytest.raises(UserError, match="the splits 'fit' and 'holdout' .* have other classes"):
        train(config(photos, tmp_path / 'run', epochs=1, train_split='fit', eval_split='holdout'))


def test_photographs_of_the_same_name_in_another_split_are_others(photos, tmp_path, recwarn):
    own = make_photos(tmp_path / 'photos', ['red', 'green'])
    shutil.copytree(own / 'train', own / 'val')
    train(config(own, tmp_path / 'run', epochs=1, eval_split='val'))
    assert not any('trained on' in str(warning.message) for warning in recwarn)


@pytest.mark.parametrize('splits', [('fit', 'holdout'), ('train', 'holdout')])
def test_photographs_held_back_calibrate_the_model(photos, tmp_path, splits):
    """Those that it was trained on would make it too sure."""
    folder = train(config(photos, tmp_path / 'run', epochs=1, train_split=splits[0], eval_split=splits[1]))
    assert read_run_record(folder)['fingerprint'] == fingerprint(open_dataset(f'folder:{photos}', splits[0]))
    found = calibration_of(load_model(str(folder)))
    if splits != ('fit', 'holdout'):
        assert found == Calibration()
        return
    dataset = open_dataset(f'folder:{photos}', 'holdout', transform=eval_transform_for(load_model(str(folder))))
    answers = collect_answers(load_model(str(folder)), dataset)
    expected = fit_calibration(answers.scores['combined'], answers.targets)
    assert found.images == expected.images == len(dataset)
    assert found.temperature == pytest.approx(expected.temperature, rel=1e-2)


def test_a_run_that_goes_on_keeps_its_calibration(photos, tmp_path, monkeypatch):
    """It ended after the last epoch was saved, and before the model was written."""
    splits = dict(epochs=1, train_split='fit', eval_split='holdout')

    def cut(*_):
        raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(trainer.Run, '_export', cut)
        with pytest.raises(Cut):
            train(config(photos, tmp_path / 'run', **splits))
    cut_short = load_model(str(train(config(photos, tmp_path / 'run', resume=True, **splits))))
    whole = load_model(str(train(config(photos, tmp_path / 'whole', **splits))))
    assert calibration_of(cut_short) == calibration_of(whole) != Calibration()


def test_keeping_decoded_images_in_memory_changes_nothing(tmp_path):
    """Photographs that are larger than what random crops are cut from."""
    generator = np.random.default_rng(0)
    for name in ('red', 'green'):
        place = tmp_path / 'photos' / 'train' / name
        place.mkdir(parents=True)
        for index in range(6):
            Image.fromarray(generator.integers(0, 255, (150, 200, 3), dtype=np.uint8)).save(place / f'{index}.png')
    found = []
    for cache in (True, False):
        folder = train(config(tmp_path / 'photos', tmp_path / str(cache), cache=cache, train_split='fit', eval_split='holdout'))
        found.append(load_file(folder / 'model.safetensors'))
    assert all(torch.equal(value, found[1][key]) for key, value in found[0].items())
    assert calibration_of(load_model(str(tmp_path / 'True'))) == calibration_of(load_model(str(tmp_path / 'False')))


@pytest.mark.parametrize('split', [None, 'test'])
def test_the_best_epoch_is_never_chosen_on_the_test_split(photos, tmp_path, split):
    with pytest.raises(UserError, match="never on 'test'"):
        config(photos, tmp_path, keep_best=True, eval_split=split)


def test_a_new_classifier_is_not_calibrated(photos, others, tmp_path):
    """Neither a method's nor that of a plain timm model, whose own `reset_classifier` knows of no calibration."""
    for name, recipe in (('wsdan', config(photos, '').recipe), ('test_resnet', load_recipe('baseline').replace(input_size=48))):
        model = build_model(name, recipe, 2, False)
        model.calibration = Calibration(0.5, 0.9, 500)
        folder = save_model(model, tmp_path / name, ['red', 'green'])
        assert calibration_of(load_model(str(folder))).images == 500
        assert calibration_of(build_model(str(folder), recipe, 3, True)) == Calibration()
