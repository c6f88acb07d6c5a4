"""Values that make no sense: one sentence each, before anything is trained."""

import pytest
import timm
from safetensors.torch import save_file

TRAIN = [
    'train', '--model', 'wsdan', '--data', 'folder:{photos}', '--output', '{tmp}/run', '--batch-size', '3', '--workers', '0',
    '--device', 'cpu', '--pretrained-backbone', 'false', '--input-size', '48', '--epochs', '1',
    '--set', 'model_args={{backbone: test_resnet, num_maps: 4}}']


@pytest.mark.parametrize(('args', 'says'), [
    (['--set', 'epochs=2'], "'epochs' is given twice"),
    (['--set', 'optimizer=sdg'], "did you mean 'sgd'"),
    (['--set', 'lr=fast'], 'lr must be a number'),
    (['--set', 'momentum=5'], 'momentum must be in [0, 1)'),
    (['--set', 'ema_decay=5'], 'ema_decay must be in (0, 1)'),
    (['--set', 'clip_grad=-1'], 'clip_grad must be above 0'),
    (['--set', 'warmup_epochs=-1'], 'warmup_epochs must be at least 0'),
    (['--set', 'weight_decay=.nan'], 'weight_decay must be a number'),
    (['--set', 'augmentation.scale=0.3'], 'augmentation scale must be two numbers'),
    (['--set', 'task_args.center_betta=0.1'], "did you mean 'center_beta'"),
    (['--set', 'task_args.smoothing=0.1'], 'write smoothing instead of task_args.smoothing'),
    (['--set', 'task_args.center_weight=much'], 'task_args.center_weight must be a number'),
    (['--set', 'task_args.crop_threshold=3'], 'task_args.crop_threshold must be 2 numbers, such as [0.4, 0.6]'),
    (['--set', 'task_args.crop_threshold=[0.9, 0.1]'], 'the upper end of crop_threshold must be in [0.9, 1)'),
    (['--set', 'task_args.center_rule=3'], 'task_args.center_rule must be a word'),
    (['--set', 'model_args.backbone=test_resnett'], "there is no model 'test_resnett' to be the backbone, did you mean 'test_resnet'"),
    (['--set', 'model_args.num_classes=5'], 'leave out model_args.num_classes'),
    (['--set', 'momentum=0'], 'take optimizer=momentum'),
    (['--set', 'optimizer=adahessian'], 'needs second derivatives'),
    (['--set', 'optimizer=bnbadam'], "the optimizer 'bnbadam' cannot be made"),
    (['--output', '{photos}/train/run'], 'would be a class of the photographs'),
    (['--eval-split', 'train', '--keep-best'], "photographs of 'train' are in 'train', which is trained on"),
    (['--set', 'model_args.num_mapz=4'], 'num_mapz'),
    (['--set', 'model_args.in_chans=1'], 'photographs have 3 channels'),
    (['--input-size', '1'], 'input_size must be in [16, 4096]'),
    (['--amp', 'foo'], "'foo' is not known"),
    (['--seed', '-1'], 'seed must be in'),
    (['--seed', '99999999999999999999'], 'seed must be in'),
    (['--device', 'gpu'], "the device 'gpu' cannot be used"),
    (['--device', 'foo'], "the device 'foo' cannot be used"),
    (['--pretrained-backbone', '{tmp}/none.safetensors'], 'there is no backbone weights file'),
    (['--pretrained-backbone', '{tmp}/weights.bin'], 'must be a .safetensors file'),
    (['--pretrained-backbone', '{run}/model.safetensors'], 'holds a whole model of this package'),
    (['--pretrained-backbone', '{tmp}/vit.safetensors'], "does not hold the weights of 'test_resnet'"),
])
def test_one_sentence(call, photos, run_folder, tmp_path, args, says):
    save_file(timm.create_model('test_vit').state_dict(), tmp_path / 'vit.safetensors')
    status, out, err = call(*[arg.format(photos=photos, tmp=tmp_path, run=run_folder) for arg in TRAIN + args])
    last = err.splitlines()[-1]
    assert status == 2 and last.startswith('fgvc-zoo: error: '), err
    assert says in last
    assert 'Traceback' not in out + err
    assert not (tmp_path / 'run' / 'model.safetensors').exists() and not (photos / 'train' / 'run').exists()


@pytest.mark.parametrize('args', [
    ['--set', 'lr=1e-3', '--set', 'weight_decay=1e-4', '--set', 'task_args.center_weight=1e-1'],
    ['--set', 'task_args.drop_threshold=[2e-1, 5e-1]'],
    ['--set', 'momentum=0', '--set', 'optimizer=momentum'],
    ['--set', 'model_args={{backbone: test_vit, num_maps: 4}}', '--input-size', '96'],  # tied to 160 px unless it is told
])
def test_values_that_make_sense(call, photos, tmp_path, args):
    status, _, err = call(*[arg.format(photos=photos, tmp=tmp_path) for arg in TRAIN + args])
    assert status == 0, err


@pytest.mark.parametrize('model', ['wsdan', 'test_resnet'])
@pytest.mark.parametrize('classes', [0, 7, 1000])
def test_backbone_weights_with_any_classifier(call, photos, tmp_path, model, classes):
    """The classifier is not needed, so it does not matter which one the file has."""
    save_file(timm.create_model('test_resnet', num_classes=classes).state_dict(), tmp_path / 'weights.safetensors')
    train = [arg.format(photos=photos, tmp=tmp_path) for arg in TRAIN]
    if model == 'test_resnet':
        train = [arg.replace('wsdan', model) for arg in train[:-2]]
    status, _, err = call(*train, '--pretrained-backbone', tmp_path / 'weights.safetensors')
    assert status == 0, err
