"""The typed reader of recipes."""

import pytest

from fgvc_zoo import UserError
from fgvc_zoo.recipes import load_recipe, recipe_for, recipe_names
from fgvc_zoo.tasks import task_settings


def test_every_recipe_loads():
    assert {'baseline', 'wsdan'} <= set(recipe_names())
    for name in recipe_names():
        assert load_recipe(name).task


def test_methods_differ_from_the_baseline_only_where_the_method_does():
    baseline, wsdan = load_recipe('baseline').to_dict(), load_recipe('wsdan').to_dict()
    assert {key for key in baseline if baseline[key] != wsdan[key]} <= {
        'name', 'task', 'task_args', 'model_args', 'head_lr_scale', 'new_lr_scale'}
    for data in ('cub200:x/cub50', 'grocery:y/grocery'):
        baseline, wsdan = load_recipe('baseline', data).to_dict(), load_recipe('wsdan', data).to_dict()
        for key in ('input_size', 'epochs', 'batch_size', 'augmentation', 'ema_decay', 'smoothing', 'crop_pct'):
            assert baseline[key] == wsdan[key], (data, key)


@pytest.mark.parametrize('name', recipe_names())
@pytest.mark.parametrize('data', ['', 'cub50', 'grocery'])
def test_task_settings_are_written_only_where_they_differ_from_the_defaults(name, data):
    recipe = load_recipe(name, data)
    defaults = task_settings(recipe.task)
    assert not [key for key, value in load_recipe(name).task_args.items() if defaults[key] == value]
    assert recipe.task_args.keys() <= defaults.keys()


def test_overrides_of_layout_and_folder(tmp_path):
    path = tmp_path / 'mine.yaml'
    path.write_text('extends: baseline\ndefaults: {task: baseline, lr: 0.5}\n'
                    'data:\n  cub200: {lr: 0.25, epochs: 7}\n  mine: {lr: 0.125}\n')
    assert load_recipe(str(path)).lr == 0.5
    assert load_recipe(str(path), 'cub200:somewhere/else').lr == 0.25
    recipe = load_recipe(str(path), 'cub200:somewhere/mine')
    assert (recipe.lr, recipe.epochs, recipe.name) == (0.125, 7, 'mine')


def test_replace_reaches_one_level_down():
    recipe = load_recipe('racnn').replace(**{'epochs': 3, 'task_args.margin': 0.1, 'augmentation.scale': [0.5, 1.0]})
    assert recipe.epochs == 3
    assert recipe.task_args['margin'] == 0.1
    assert recipe.task_args['follow_peaks'] is True
    assert recipe.augmentation.scale == (0.5, 1.0)


@pytest.mark.parametrize(('changes', 'words'), [
    ({'epoch': 3}, "did you mean 'epochs'"),
    ({'augmentation.scales': 1}, "did you mean 'scale'"),
    ({'lr.x': 1}, 'has no parts'),
    ({'epochs': 0}, 'above 0'),
    ({'smoothing': 1.0}, r'smoothing must be in \[0, 1\), not 1\.0'),
    ({'lr': '1e-3'}, "lr must be above 0, not '1e-3'"),  # YAML reads a number without a point as a string
    ({'min_lr': -0.1}, r'min_lr must be in \[0, 1\]'),
    ({'layer_decay': 0}, r'layer_decay must be in \(0, 1\]'),
])
def test_bad_values_are_named(changes, words):
    with pytest.raises(UserError, match=words):
        load_recipe('baseline').replace(**changes)


@pytest.mark.parametrize(('text', 'words'), [
    ('defaults: [', 'not valid YAML'),
    ('- a list', 'must be a mapping'),
    ('default: {}', "did you mean 'defaults'"),
    ('defaults: {task: baseline, epoch: 3}', "did you mean 'epochs'"),
])
def test_bad_files_are_named(tmp_path, text, words):
    path = tmp_path / 'bad.yaml'
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        load_recipe(str(path))


def test_unknown_recipe_offers_the_nearest():
    with pytest.raises(UserError, match="did you mean 'wsdan'"):
        load_recipe('wsdam')


def test_recipe_of_a_model():
    assert recipe_for('wsdan_resnet50.cub50') == 'wsdan'
    assert recipe_for('wsdan') == 'wsdan'
    assert recipe_for('resnet50') == 'baseline'
