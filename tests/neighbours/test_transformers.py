"""transformers: its Auto classes, pipeline and Trainer read a folder of this package, and timm reads theirs."""

import json

import pytest
import timm
import torch
from timm.models import _registry
from transformers import AutoImageProcessor, AutoModel, AutoModelForImageClassification, Trainer, TrainingArguments, pipeline

from fgvc_zoo.data import ImageFolder
from fgvc_zoo.loading import class_names, eval_transform_for, load_model
from fgvc_zoo.models import METHODS
from fgvc_zoo.recipes import load_recipe
from fgvc_zoo.saving import save_model
from fgvc_zoo.training import TrainConfig, train


@pytest.fixture(scope='module')
def trained(photos, tmp_path_factory):
    """The folder of a real training run of one step."""
    folder = tmp_path_factory.mktemp('trained')
    recipe = load_recipe('wsdan').replace(
        epochs=1, batch_size=8, input_size=64, **{'model_args.backbone': 'test_resnet', 'model_args.num_maps': 4})
    return train(TrainConfig(
        model='wsdan', data=f'folder:{photos}', output=str(folder), recipe=recipe, pretrained_backbone=False, workers=0, device='cpu',
        progress=False))


def logits_of(model, pixels):
    with torch.inference_mode():
        return model(pixels)


def test_a_training_run(trained, picture):
    ours, theirs = load_model(str(trained)), AutoModelForImageClassification.from_pretrained(trained)
    assert theirs.config.id2label == {0: 'gala', 1: 'kiwi', 2: 'leek'} and theirs.config.label2id == {'gala': 0, 'kiwi': 1, 'leek': 2}
    assert not theirs.training and theirs.dtype == torch.float32
    pixels = AutoImageProcessor.from_pretrained(trained)(picture, return_tensors='pt')['pixel_values']
    torch.testing.assert_close(pixels, eval_transform_for(ours)(picture)[None], rtol=0, atol=0)
    torch.testing.assert_close(logits_of(theirs, pixels).logits, logits_of(ours, pixels), rtol=1e-5, atol=1e-5)


def test_pipeline(run_folder, model, picture, pixels):
    answers = pipeline('image-classification', model=str(run_folder), device='cpu')(picture)
    scores = {answer['label']: answer['score'] for answer in answers}
    expected = dict(zip(class_names(model), logits_of(model, pixels).softmax(1)[0].tolist(), strict=True))
    assert list(scores.values()) == sorted(scores.values(), reverse=True)
    assert scores == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize('method', METHODS)
def test_every_method(method, pixels, tmp_path):
    """transformers builds on the meta device, so that whatever a model keeps beside its weights would be lost."""
    ours = timm.create_model(method, backbone='test_resnet', num_classes=3).eval()
    theirs = AutoModelForImageClassification.from_pretrained(save_model(ours, tmp_path))
    torch.testing.assert_close(logits_of(theirs, pixels).logits, logits_of(ours, pixels), rtol=1e-4, atol=1e-5)


def test_a_backbone_that_is_tied_to_a_size(pixels, tmp_path):
    ours = timm.create_model('wsdan', backbone='test_vit', img_size=64, num_classes=3, num_maps=4).eval()
    theirs = AutoModelForImageClassification.from_pretrained(save_model(ours, tmp_path))
    torch.testing.assert_close(logits_of(theirs, pixels).logits, logits_of(ours, pixels), rtol=1e-4, atol=1e-5)


def test_features(run_folder, model, pixels):
    theirs = AutoModel.from_pretrained(run_folder)
    with torch.inference_mode():
        output = theirs(pixels, output_hidden_states=True)
        torch.testing.assert_close(output.last_hidden_state, model.forward_features(pixels))
        torch.testing.assert_close(output.pooler_output, model.embed(model.forward_features(pixels)))
        assert [state.shape for state in output.hidden_states] == [state.shape for state in model.forward_intermediates(
            pixels, intermediates_only=True)]


def test_hidden_states_come_with_the_first_look(run_folder, model, pixels):
    theirs = AutoModelForImageClassification.from_pretrained(run_folder)
    with torch.inference_mode():
        output, raw = theirs(pixels, output_hidden_states=True), model.forward_passes(pixels).parts['raw']
    torch.testing.assert_close(output.logits, raw)
    assert not torch.allclose(logits_of(theirs, pixels).logits, raw)


def test_trainer(run_folder, photos, tmp_path):
    """One step for other classes; what it saves is again a timm model."""
    model = AutoModelForImageClassification.from_pretrained(run_folder, num_labels=2, ignore_mismatched_sizes=True)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    transform = eval_transform_for(load_model(str(run_folder)))
    data = [dict(pixel_values=image, labels=target % 2) for image, target in ImageFolder(photos, 'train', transform)]
    trainer = Trainer(model, TrainingArguments(
        str(tmp_path / 'logs'), max_steps=1, per_device_train_batch_size=4, learning_rate=1e-3, use_cpu=True, report_to='none',
        disable_tqdm=True), train_dataset=data)
    result = trainer.train()
    assert result.global_step == 1 and 0 < result.training_loss < 10
    changed = {key.removeprefix('timm_model.') for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert {'attention.conv.weight', 'classifier.weight'} <= changed, changed

    trainer.save_model(str(tmp_path / 'saved'))
    again = timm.create_model(f"local-dir:{tmp_path / 'saved'}", pretrained=True).eval()
    images = torch.stack([item['pixel_values'] for item in data])
    torch.testing.assert_close(logits_of(again, images), logits_of(model.eval(), images).logits)


def test_without_the_import_it_blames_timm(run_folder, monkeypatch):
    """The documentation warns of this sentence: registered is only what was imported."""
    monkeypatch.delitem(_registry._model_entrypoints, 'wsdan')
    with pytest.raises(ImportError, match="'wsdan' is not supported in your version of timm"):
        AutoModelForImageClassification.from_pretrained(run_folder)


def test_why_num_classes_is_not_in_model_args(run_folder, tmp_path):
    """timm writes it there; when transformers no longer minds, `fgvc_zoo.saving` may stop removing it."""
    config = json.loads((run_folder / 'config.json').read_text())
    assert config['num_classes'] == 3 and config['label_names'] == ['gala', 'kiwi', 'leek']
    assert config['model_args'] == dict(backbone='test_resnet', num_maps=4, in_chans=3, global_pool='avg')
    config['model_args']['num_classes'] = 3
    (tmp_path / 'config.json').write_text(json.dumps(config))
    (tmp_path / 'model.safetensors').symlink_to(run_folder / 'model.safetensors')
    with pytest.raises(TypeError, match='num_classes'):
        AutoModelForImageClassification.from_pretrained(tmp_path)
