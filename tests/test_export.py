"""Exported files of every method: the same answers as the model, at any batch size, with and without this package."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from fgvc_zoo import UserError, export
from fgvc_zoo.calibration import Calibration, familiarity
from fgvc_zoo.data import load_image
from fgvc_zoo.export import export_model
from fgvc_zoo.loading import class_names, eval_transform_for, load_model
from fgvc_zoo.onnx_model import OnnxModel
from fgvc_zoo.prediction import predict
from fgvc_zoo.saving import save_model

EXAMPLE = Path(__file__).parents[1] / 'examples' / 'onnx_predict.py'
NAMES = ['gala', 'kiwi', 'leek, red']
MODELS = dict(
    wsdan=dict(num_maps=4), wsban=dict(num_maps=4), apinet={}, osme={}, racnn=dict(crop_size=48), baseline={})


def make(method, names=NAMES):
    torch.manual_seed(0)
    args = {} if method == 'baseline' else dict(backbone='test_resnet', **MODELS[method])
    model = timm.create_model('test_resnet' if method == 'baseline' else method, num_classes=len(names), **args).eval()
    model.pretrained_cfg.update(input_size=(3, 64, 64), num_classes=len(names), label_names=names, crop_pct=0.875, interpolation='bicubic')
    model.calibration = Calibration(0.5, 0.4, 9)
    return model


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
    """Wide, high and square, in several colours; 16-bit grey; half transparent."""
    folder = tmp_path_factory.mktemp('photographs')
    generator = torch.Generator().manual_seed(0)
    for index, size in enumerate(((90, 70), (64, 101), (80, 80))):
        small = torch.randint(0, 255, (5, 6, 3), dtype=torch.uint8, generator=generator).numpy()
        Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(folder / f'{index}.png')
    grey = torch.randint(0, 65535, (70, 80), generator=generator).numpy().astype(np.uint16)
    Image.fromarray(grey).save(folder / 'grey16.png')
    transparent = torch.randint(0, 255, (70, 80, 4), dtype=torch.uint8, generator=generator).numpy()
    Image.fromarray(transparent, 'RGBA').save(folder / 'transparent.png')
    return sorted(folder.iterdir())


@pytest.fixture(scope='module', params=MODELS)
def exported(request, tmp_path_factory):
    """A model and its ONNX file, with attention if it has any."""
    model = make(request.param)
    path = tmp_path_factory.mktemp('exported') / 'model.onnx'
    difference = export_model(model, path, attention=request.param != 'baseline', license='MIT')
    assert difference.logits < 1e-3 and difference.probabilities < 1e-3
    assert [file.name for file in path.parent.iterdir()] == ['model.onnx']
    return model, path


def example_images(model, count):
    """Images with values in [0, 1], as a file takes them, and normalised, as the model does."""
    images = torch.rand(count, 3, 64, 64)
    mean, std = (torch.tensor(model.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ('mean', 'std'))
    return images, (images - mean) / std


def test_logits_maps_and_boxes_are_the_models_at_any_batch_size(exported):
    model, path = exported
    loaded = load_model(str(path))
    for count in (1, 2, 5):
        images, views = example_images(model, count)
        with torch.inference_mode():
            torch.testing.assert_close(loaded(images), model(views), atol=2e-3, rtol=1e-3)
        if hasattr(model, 'forward_explained'):
            logits, explanation = loaded.forward_explained(images)
            _, expected = model.forward_explained(views)
            torch.testing.assert_close(logits, loaded(images))
            torch.testing.assert_close(explanation.boxes, expected.boxes, atol=1e-3, rtol=0)
            torch.testing.assert_close(explanation.maps, expected.maps, atol=1e-3 * expected.maps.max().item(), rtol=1e-3)
            assert (explanation.map_names, explanation.box_names) == (expected.map_names, expected.box_names)


def test_predict_answers_the_same(exported, photographs):
    model, path = exported
    loaded = load_model(str(path))
    assert isinstance(loaded, OnnxModel) and class_names(loaded) == NAMES and loaded.calibration == model.calibration
    for found, expected in zip(predict(loaded, photographs), predict(model, photographs), strict=True):
        assert found.names == expected.names
        assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-3)


@pytest.mark.parametrize('method', ['wsdan', 'baseline'])
def test_a_program_of_torch_export_answers_the_same(method, tmp_path):
    model = make(method)
    assert export_model(model, tmp_path / 'model.pt2', license='MIT').logits < 1e-4
    extra = {'fgvc_zoo': ''}
    program = torch.export.load(tmp_path / 'model.pt2', extra_files=extra).module()
    images, views = example_images(model, 3)
    with torch.inference_mode():
        logits, probabilities = program(images)
        torch.testing.assert_close(logits, model(views), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(probabilities, (logits / 0.5).softmax(1))
    facts = json.loads(extra['fgvc_zoo'])
    assert facts['class_names'] == NAMES and facts['calibration'] == dict(temperature=0.5, threshold=0.4, images=9)
    assert facts['license'] == 'MIT' and facts['input_size'] == 64


WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, *_):
        if name.partition('.')[0] in ('torch', 'torchvision', 'timm', 'fgvc_zoo', 'safetensors'):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
sys.path.insert(0, sys.argv[1])
from onnx_predict import main
main(*sys.argv[2:])
"""


@pytest.mark.parametrize('crop_mode', ['center', 'squash', 'border'])
def test_the_example_gives_the_same_answers_without_torch(crop_mode, photographs, tmp_path):
    model = make('wsdan', [f'class {index}' for index in range(24)])
    model.pretrained_cfg['crop_mode'] = crop_mode
    views = torch.stack([eval_transform_for(model)(load_image(path)) for path in photographs])
    with torch.inference_mode():
        levels = familiarity(model(views)).sort().values.tolist()
    model.calibration = Calibration(0.5, (levels[0] + levels[1]) / 2, 9)  # one of them is unknown
    export_model(model, tmp_path / 'model.onnx')
    out = subprocess.run(
        [sys.executable, '-c', WITHOUT, str(EXAMPLE.parent), str(tmp_path / 'model.onnx'), *map(str, photographs)],
        capture_output=True, text=True, check=True, timeout=120).stdout
    expected = []
    answers = list(predict(load_model(str(tmp_path / 'model.onnx')), photographs))
    assert sum(answer.unknown for answer in answers) == 1
    for answer in answers:
        expected.append(str(answer.path))
        if answer.unknown:
            expected.append('  perhaps none of the classes')
        expected += [f'  {100 * value:5.1f} %  {name}' for name, value in zip(answer.names, answer.probabilities, strict=True)]
    assert out.splitlines() == expected


def test_the_example_is_short():
    assert len(EXAMPLE.read_text().splitlines()) < 60


def test_a_file_that_differs_is_not_written_and_nothing_is_left(monkeypatch, tmp_path):
    monkeypatch.setattr(export, 'BOUND', -1.0)
    (tmp_path / 'model.pt2').write_text('the former one')
    with pytest.raises(UserError, match='differ from the model'):
        export_model(make('baseline'), tmp_path / 'model.pt2')
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [('model.pt2', 'the former one')]


def test_other_endings_and_attention_of_a_plain_model_are_refused(tmp_path):
    with pytest.raises(UserError, match=r'must end with \.onnx or \.pt2'):
        export_model(make('baseline'), tmp_path / 'model.pth')
    with pytest.raises(UserError, match='no attention maps'):
        export_model(make('baseline'), tmp_path / 'model.onnx', attention=True)


def test_another_input_size_is_refused(exported, photographs):
    with pytest.raises(UserError, match='does not take images of 96 px'):
        list(predict(load_model(str(exported[1])), photographs, input_size=96))


def test_files_of_another_kind_are_refused(tmp_path):
    import onnx
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info('images', TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node('Identity', ['images'], ['logits'])], 'other', [value], [
        helper.make_tensor_value_info('logits', TensorProto.FLOAT, [1])])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=8), tmp_path / 'other.onnx')
    (tmp_path / 'damaged.onnx').write_bytes(b'no graph')
    for name, words in (('other', 'was not written by'), ('damaged', 'cannot be read as an ONNX file'), ('missing', 'there is no file')):
        with pytest.raises(UserError, match=words):
            load_model(str(tmp_path / f'{name}.onnx'))


def test_the_command(run_folder, photos, tmp_path):
    from typer.testing import CliRunner

    from fgvc_zoo_cli import app

    path = tmp_path / 'new' / 'model.onnx'
    first = CliRunner().invoke(app, ['export', str(run_folder), str(path), '--attention'])
    assert first.exit_code == 0 and path.is_file() and 'logits differ' in first.stderr
    with pytest.raises(UserError, match='write over it with --force'):
        CliRunner().invoke(app, ['export', str(run_folder), str(path)], catch_exceptions=False)
    with pytest.raises(UserError, match='is an exported file: give the model that it was made from'):
        CliRunner().invoke(app, ['export', str(path), str(tmp_path / 'again.onnx')], catch_exceptions=False)
    photo = str(next((photos / 'test').rglob('*.jpg')))
    answered = CliRunner().invoke(app, ['predict', photo, '--model', str(path), '--save', str(tmp_path / 'pictures')])
    assert answered.exit_code == 0 and any(name in answered.stdout for name in ('gala', 'kiwi', 'leek'))
    assert len(list((tmp_path / 'pictures').iterdir())) == 1


def test_no_command_is_printed_that_would_refuse_the_file(tmp_path):
    from typer.testing import CliRunner

    from fgvc_zoo_cli import app

    for channels, shown in ((1, False), (3, True)):
        folder = save_model(timm.create_model('test_resnet', num_classes=3, in_chans=channels), tmp_path / str(channels), NAMES)
        result = CliRunner().invoke(app, ['export', str(folder), str(tmp_path / f'{channels}.onnx')], catch_exceptions=False)
        assert ('fgvc-zoo predict' in result.stderr) == shown
    with pytest.raises(UserError, match='photographs have 3 channels'):
        list(predict(load_model(str(tmp_path / '1')), ['a.jpg']))
