"""The typed reader of recipes."""

import pytest

from fgvc_zoo import UserError
from fgvc_zoo.recipes import SMALL, load_recipe, recipe_for, recipe_names
from fgvc_zoo.recipes.values import like_default
from fgvc_zoo.tasks import task_settings


def test_every_recipe_loads():
    assert {'baseline', 'wsdan'} <= set(recipe_names())
    for name in recipe_names():
        assert load_recipe(name).task


@pytest.mark.parametrize('images', [None, SMALL - 1])
@pytest.mark.parametrize('method', ['wsdan', 'wsban', 'apinet', 'osme', 'racnn'])
def test_methods_differ_from_the_baseline_only_where_the_method_does(method, images):
    baseline, own = load_recipe('baseline', images).to_dict(), load_recipe(method, images).to_dict()
    differences = {'name', 'task', 'task_args', 'model_args', 'head_lr_scale', 'new_lr_scale', 'images_per_class', 'clip_grad'}
    if method == 'racnn':
        differences |= {'augmentation'}
    assert {key for key in own if own[key] != baseline[key]} <= differences


@pytest.mark.parametrize('name', recipe_names())
@pytest.mark.parametrize('images', [None, SMALL - 1])
def test_task_settings_are_written_only_where_they_differ_from_the_defaults(name, images):
    recipe = load_recipe(name, images)
    defaults = task_settings(recipe.task)
    assert not [key for key, value in load_recipe(name).task_args.items() if defaults[key] == value]
    assert recipe.task_args.keys() <= defaults.keys()


@pytest.mark.parametrize('name', recipe_names())
def test_only_the_number_of_photographs_matters(name):
    default, small = load_recipe(name), load_recipe(name, SMALL - 1)
    assert load_recipe(name, SMALL) == default
    assert load_recipe(name, 1) == small
    assert (default.epochs, default.lr, default.frozen_below) == (8, 0.01, 0.3)
    assert (small.epochs, small.lr, small.frozen_below) == (16, 0.005, 0.55)
    assert small.name == default.name == name


@pytest.mark.parametrize('name', recipe_names())
def test_a_paper_recipe_does_not_depend_on_the_data(name):
    recipe = load_recipe(f'{name}-paper')
    assert load_recipe(f'{name}-paper', 1) == recipe
    assert (recipe.name, recipe.task) == (f'{name}-paper', name)
    assert recipe.input_size is None
    assert (recipe.crop_mode, recipe.crop_pct, recipe.augmentation.style) == ('squash', 0.875, 'resize_crop')
    assert (recipe.frozen_below, recipe.layer_decay, recipe.smoothing, recipe.ema_decay) == (None, 1, 0, None)


def test_published_values():
    wsdan, apinet, racnn, osme = (load_recipe(f'{name}-paper') for name in ('wsdan', 'apinet', 'racnn', 'osme'))
    assert (wsdan.epochs, wsdan.batch_size, wsdan.lr, wsdan.weight_decay, wsdan.head_lr_scale) == (160, 12, 0.001, 1e-5, 1)
    assert (wsdan.schedule, wsdan.decay_epochs, wsdan.decay_rate, wsdan.freeze_bn) == ('step', 2, 0.9, False)
    assert wsdan.augmentation.color_jitter == (0.1255, 0, 0.5)
    assert load_recipe('wsban-paper').replace(name=wsdan.name, task=wsdan.task) == wsdan
    assert (apinet.epochs, apinet.batch_size, apinet.images_per_class, apinet.frozen_epochs) == (100, 120, 4, 8)
    assert (apinet.schedule, apinet.min_lr, apinet.lr, apinet.weight_decay, apinet.new_lr_scale) == ('cosine', 0, 0.01, 5e-4, 1)
    assert {**task_settings('apinet'), **apinet.task_args} == task_settings('apinet')  # the task's defaults are the authors'
    assert (racnn.batch_size, round(5994 * racnn.decay_epochs), racnn.decay_rate, racnn.lr) == (1, 10_000, 0.1, 0.01)
    assert racnn.model_args == {'joint': 'fusion'} and racnn.task_args['peak_half'] == 0.25
    assert osme.task_args == {'mamc_weight': 0.5, 'normalization': 'per_pair'}


def test_parts_of_an_own_file(tmp_path):
    path = tmp_path / 'mine.yaml'
    path.write_text('extends: baseline\ndefaults: {task: baseline, lr: 0.5, head_lr_scale: 100}\n'
                    'small: {lr: 0.25}\npaper: {lr: 0.125, epochs: 7}\n')
    assert (load_recipe(str(path)).lr, load_recipe(str(path)).epochs) == (0.5, 8)
    small = load_recipe(str(path), SMALL - 1)
    # its own defaults win over the small part of what it extends
    assert (small.lr, small.epochs, small.head_lr_scale) == (0.25, 16, 100)
    paper = load_recipe(f'{path}-paper')
    assert (paper.lr, paper.epochs, paper.name, paper.crop_mode) == (0.125, 7, 'mine-paper', 'squash')


def test_a_recipe_without_a_paper_part_says_so(tmp_path):
    path = tmp_path / 'mine.yaml'
    path.write_text('extends: baseline\ndefaults: {task: baseline}\n')
    with pytest.raises(UserError, match='has no `paper` part'):
        load_recipe(f'{path}-paper')


def test_input_and_crop_are_the_models_own_unless_given():
    cfg = dict(input_size=(3, 448, 448), crop_pct=0.95)
    own = load_recipe('baseline').for_model(cfg)
    assert (own.input_size, own.crop_pct, own.crop_mode) == (448, 0.95, 'center')
    given = load_recipe('baseline').replace(input_size=96, crop_pct=1, crop_mode='border').for_model(dict(cfg, crop_mode='squash'))
    assert (given.input_size, given.crop_pct, given.crop_mode) == (96, 1, 'border')


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
    ({'epochs': 0}, r'epochs must be in \[1, 100000\]'),
    ({'smoothing': 1.0}, r'smoothing must be in \[0, 1\), not 1\.0'),
    ({'lr': 'fast'}, "lr must be a number, not 'fast'"),
    ({'lr': 0}, 'lr must be above 0, not 0'),
    ({'lr': float('inf')}, 'lr must be a number, not inf'),
    ({'epochs': 2.5}, r'epochs must be a whole number, not 2\.5'),
    ({'epochs': True}, 'epochs must be a whole number, not True'),
    ({'batch_size': 10**400}, 'batch_size must be a whole number'),
    ({'momentum': 5}, r'momentum must be in \[0, 1\)'),
    ({'weight_decay': -1}, 'weight_decay must be at least 0'),
    ({'warmup_epochs': -1}, 'warmup_epochs must be at least 0'),
    ({'head_lr_scale': 0}, 'head_lr_scale must be above 0'),
    ({'new_lr_scale': -1}, 'new_lr_scale must be above 0'),
    ({'ema_decay': 5}, r'ema_decay must be in \(0, 1\)'),
    ({'clip_grad': -1}, 'clip_grad must be above 0'),
    ({'images_per_class': 0}, 'images_per_class must be in'),
    ({'similar_classes': 4}, 'similar_classes needs images_per_class'),
    ({'early_epochs': -1}, 'early_epochs must be'),
    ({'early_scale': 0}, 'early_scale must be in'),
    ({'frozen_below': 2}, r'frozen_below must be in \[0, 1\]'),
    ({'freeze_bn': 'maybe'}, "freeze_bn must be true or false, not 'maybe'"),
    ({'optimizer': 'sdg'}, "did you mean 'sgd'"),
    ({'optimizer': 3}, 'optimizer must be a word'),
    ({'task_args': 3}, 'task_args must be a mapping'),
    ({'augmentation': 3}, 'augmentation must be a mapping'),
    ({'augmentation.scale': 0.3}, 'scale must be two numbers'),
    ({'augmentation.hflip': 'often'}, 'hflip must be a number'),
    ({'min_lr': -0.1}, r'min_lr must be in \[0, 1\]'),
    ({'layer_decay': 0}, r'layer_decay must be in \(0, 1\]'),
    ({'input_size': 0}, r'input_size must be in \[16, 4096\]'),
    ({'crop_pct': 1.5}, r'crop_pct must be in \(0, 1\]'),
    ({'crop_mode': 'squish'}, "did you mean 'squash'"),
    ({'schedule': 'steps'}, "did you mean 'step'"),
    ({'decay_epochs': 0}, 'decay_epochs must be above 0'),
    ({'decay_rate': 0}, r'decay_rate must be in \(0, 1\]'),
    ({'frozen_epochs': -1}, 'frozen_epochs must be at least 0'),
    ({'augmentation.color_jitter': [0.1, 0.2]}, 'one number, or three'),
    ({'augmentation.color_jitter': [0.1, -0.2, 0]}, 'color_jitter must be at least 0'),
])
def test_bad_values_are_named(changes, words):
    with pytest.raises(UserError, match=words):
        load_recipe('baseline').replace(**changes)


@pytest.mark.parametrize(('text', 'words'), [
    ('defaults: [', 'not valid YAML'),
    ('- a list', 'must be a mapping'),
    ('default: {}', "did you mean 'defaults'"),
    ('defaults: 3', "'defaults' must be a mapping"),
    ('data: {cub50: {lr: 1}}', "use 'small'"),
    ('extends: baselin', "did you mean 'baseline'"),
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


@pytest.mark.parametrize(('value', 'default', 'expected'), [
    ('1e-1', 0.5, 0.1), (1, 0.5, 1), ('3', 4, 3), (True, False, True), ('ema', 'reference', 'ema'), ([1, '2e-1'], (0.4, 0.6), (1, 0.2)),
    ('1e-1', None, 0.1), (None, None, None), ('word', None, 'word'), ([1], None, [1])])
def test_values_become_the_type_of_a_default(value, default, expected):
    found = like_default('a', value, default)
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(('value', 'default', 'words'), [
    ('x', 0.5, 'a number'), (None, 0.5, 'a number'), (True, 0.5, 'a number'), (1.5, 4, 'a whole number'), (1, False, 'true or false'),
    (3, 'ema', 'a word'), (0.3, (0.4, 0.6), '2 numbers'), ([0.3], (0.4, 0.6), '2 numbers'), ([0.3, 'x'], (0.4, 0.6), 'a number')])
def test_values_of_another_type_than_the_default_are_named(value, default, words):
    with pytest.raises(UserError, match=f'a must be {words}'):
        like_default('a', value, default)


def test_values_become_what_their_annotation_says():
    """YAML 1.1 reads '1e-3' as text."""
    recipe = load_recipe('baseline').replace(lr='1e-3', weight_decay='1e-4', epochs='3', batch_size=8.0, freeze_bn='False', ema_decay=None)
    assert (recipe.lr, recipe.weight_decay, recipe.epochs, recipe.batch_size, recipe.freeze_bn) == (0.001, 0.0001, 3, 8, False)
    assert isinstance(recipe.epochs, int) and isinstance(recipe.batch_size, int) and recipe.ema_decay is None
    assert load_recipe('baseline').replace(**{'augmentation.scale': ['5e-1', 1]}).augmentation.scale == (0.5, 1)


def test_a_file_that_extends_a_method_has_its_task(tmp_path):
    (tmp_path / 'mine.yaml').write_text('extends: wsdan\ndefaults: {lr: 0.005}\n')
    recipe = load_recipe(str(tmp_path / 'mine.yaml'))
    assert (recipe.name, recipe.task, recipe.lr) == ('mine', 'wsdan', 0.005)
    assert recipe.task_args == load_recipe('wsdan').task_args
    (tmp_path / 'wsdan.yaml').write_text('extends: baseline\n')  # a method's own file, copied and changed
    assert load_recipe(str(tmp_path / 'wsdan.yaml')).task == 'wsdan'
