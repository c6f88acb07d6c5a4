"""The folder that becomes a repository: complete, readable by timm and transformers, refused when something is missing."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import timm
import torch
import yaml
from huggingface_hub import ModelCard
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fgvc_zoo import UserError
from fgvc_zoo.checkpoints import golden_input
from fgvc_zoo.models import METHODS
from fgvc_zoo.publishing import check, stage, staging

REPO = 'tester/apples'


def change(path, **what):
    """Change keys of a JSON file; None removes one."""
    content = {**json.loads(path.read_text()), **what}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


@pytest.fixture
def staged(run, tmp_path):
    return stage(run, tmp_path / 'staged', REPO, 'MIT', 'photographs of noise')


def test_folder_is_complete(run, staged):
    names = {path.name for path in staged.iterdir()}
    assert names == {'model.safetensors', 'config.json', 'README.md', 'labels.txt', 'result.json', 'checksums.json', 'golden.safetensors'}
    sums = json.loads((staged / 'checksums.json').read_text())
    assert sums == {name: hashlib.sha256((staged / name).read_bytes()).hexdigest() for name in names - {'checksums.json'}}
    assert (staged / 'labels.txt').read_text() == 'gala\nkiwi\nleek\n'
    assert json.loads((staged / 'result.json').read_text()) == json.loads((run / 'result.json').read_text())
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in staged.iterdir())


@pytest.mark.parametrize('full', [False, True])
def test_weights_and_golden_logits(run, tmp_path, full):
    staged = stage(run, tmp_path / 'staged', REPO, 'MIT', full=full)
    before, after = load_file(run / 'model.safetensors'), load_file(staged / 'model.safetensors')
    assert before.keys() == after.keys()
    for key, value in before.items():
        torch.testing.assert_close(after[key], value if full or not value.is_floating_point() else value.half(), rtol=0, atol=0)
    model = timm.create_model(f'local-dir:{staged}', pretrained=True).eval()
    assert next(model.parameters()).dtype == torch.float32
    # the image by the formula that the file gives, not by golden_input
    with safe_open(staged / 'golden.safetensors', framework='pt') as file:
        assert 'sin((9 + 4c) * y / (size - 1)) * cos((5 + 3c) * x / (size - 1))' in file.metadata()['input']
    axis = np.arange(64) / 63
    image = np.stack([np.outer(np.sin((9 + 4 * c) * axis), np.cos((5 + 3 * c) * axis)) for c in range(3)])[None].astype(np.float32)
    with torch.no_grad():
        logits = model(torch.from_numpy(image))
    torch.testing.assert_close(load_file(staged / 'golden.safetensors')['logits'], logits, rtol=1e-4, atol=1e-4)


def test_timm_and_transformers_read_it(staged):
    """transformers' TimmWrapperForImageClassification passes num_classes beside model_args, and computes in config.json's dtype."""
    config = json.loads((staged / 'config.json').read_text())
    theirs = timm.create_model(config['architecture'], pretrained=False, num_classes=config['num_classes'], **config['model_args'])
    theirs.load_state_dict(load_file(staged / 'model.safetensors'))
    ours = timm.create_model(f'local-dir:{staged}', pretrained=True)
    with torch.inference_mode():
        assert torch.equal(theirs.eval()(golden_input(64)), ours.eval()(golden_input(64)))
    assert config['dtype'] == 'float32' and config['label_names'] == ['gala', 'kiwi', 'leek']
    assert ours.num_classes == 3 and list(ours.pretrained_cfg['label_names']) == config['label_names']
    assert timm.create_model(f'local-dir:{staged}', pretrained=True, num_classes=5, in_chans=1)(torch.zeros(1, 1, 64, 64)).shape == (1, 5)


def test_where_the_backbone_came_from_is_not_published(run, tmp_path):
    config = json.loads((run / 'config.json').read_text())
    change(run / 'config.json', model_args={**config['model_args'], 'pretrained_backbone': '/home/me/weights.safetensors'})
    assert 'weights.safetensors' in (run / 'config.json').read_text()
    with pytest.warns(UserWarning, match=r'names other weights \(model_args\.pretrained_backbone\)'):
        staged = stage(run, tmp_path / 'staged', REPO, 'MIT')
    assert 'pretrained_backbone' not in (staged / 'config.json').read_text()


def test_staging_again_gives_the_same_bytes(run, staged, tmp_path):
    again = stage(run, tmp_path / 'again', REPO, 'MIT', 'photographs of noise')
    assert {path.name: path.read_bytes() for path in staged.iterdir()} == {path.name: path.read_bytes() for path in again.iterdir()}
    # a staged folder is itself a source
    shutil.copy(run / 'result.json', staged)
    third = stage(staged, tmp_path / 'third', REPO, 'MIT', 'photographs of noise')
    assert (third / 'model.safetensors').read_bytes() == (staged / 'model.safetensors').read_bytes()


def test_card(run, tmp_path):
    result = json.loads((run / 'result.json').read_text())
    metrics = dict(top1=12.3, top5=45.6, mean_per_class=7.89)
    (run / 'baseline.json').write_text(json.dumps(dict(result, model='test_resnet', metrics=metrics)))
    Image.new('RGB', (8, 8)).save(tmp_path / 'seen.png')
    (run / 'recipe.yaml').write_text('epochs: 7\n')
    staged = stage(run, tmp_path / 'staged', REPO, 'MIT', 'photographs of noise', picture=tmp_path / 'seen.png')
    card = ModelCard((staged / 'README.md').read_text())
    assert (card.data.license, card.data.library_name, card.data.pipeline_tag) == ('mit', 'timm', 'image-classification')
    assert {'timm', 'transformers', 'fine-grained', 'wsdan'} <= set(card.data.tags)
    figures = {item.metric_name: item.metric_value for item in card.data.eval_results}
    assert figures['top-1 (%)'] == result['metrics']['top1']
    for words in ('hf-hub:tester/apples', 'pipeline(', 'arXiv:1901.09891', 'photographs of noise', '(attention.png)',
                  '| 12.30 | 45.60 | 7.89 |', 'its raw prediction alone', 'It has only the', 'half precision', 'WS-DAN learns'):
        assert words in card.text
    assert yaml.safe_load((staged / 'recipe.yaml').read_text()) == dict(epochs=7)
    assert {'attention.png', 'baseline.json', 'recipe.yaml'} <= json.loads((staged / 'checksums.json').read_text()).keys()
    # what is no longer given goes
    (run / 'baseline.json').unlink()
    stage(run, staged, REPO, 'MIT')
    assert not (staged / 'attention.png').exists() and not (staged / 'baseline.json').exists()
    assert 'No baseline' in (staged / 'README.md').read_text()


def test_leaderboard(run, tmp_path):
    top1 = json.loads((run / 'result.json').read_text())['metrics']['top1']
    staged = stage(run, tmp_path / 'staged', REPO, 'MIT', benchmark='apples/thirty:small')
    [entry] = yaml.safe_load((staged / '.eval_results' / 'accuracy.yaml').read_text())
    assert entry['dataset'] == dict(id='apples/thirty', task_id='small')
    assert entry['value'] == pytest.approx(top1, abs=5e-4) and 'top-1 accuracy in percent on the test split' in entry['notes']
    check(staged)
    [entry] = yaml.safe_load((stage(run, staged, REPO, 'MIT', benchmark='a/b') / '.eval_results' / 'accuracy.yaml').read_text())
    assert entry['dataset'] == dict(id='a/b', task_id='default')
    stage(run, staged, REPO, 'MIT')  # what is no longer given goes
    assert not (staged / '.eval_results' / 'accuracy.yaml').exists()
    for name in ('thirty', 'a/b/c', '/b', 'a/:x'):
        with pytest.raises(UserError, match='not a dataset of the Hub'):
            stage(run, tmp_path / 'never', REPO, 'MIT', benchmark=name)
    assert not (tmp_path / 'never').exists()


def test_licence_in_words(run, tmp_path):
    sentence = 'non-commercial research only, as the photographs'
    data = ModelCard((stage(run, tmp_path / 'staged', REPO, sentence) / 'README.md').read_text())
    assert (data.data.license, data.data.license_name) == ('other', 'non-commercial-research-only')
    assert sentence in data.text


@pytest.mark.parametrize(('words', 'name'), [('CC BY-NC 4.0', 'cc-by-nc-4.0'), ('Apache-2.0', 'apache-2.0'), ('mit', 'mit')])
def test_a_licence_as_people_write_it(run, tmp_path, words, name):
    data = ModelCard((stage(run, tmp_path / 'staged', REPO, words) / 'README.md').read_text()).data
    assert data.license == name and 'license_name' not in data.to_dict()


def test_card_states_the_methods_idea_and_paper(run, tmp_path):
    paper = METHODS['wsdan'].paper
    text = ModelCard((stage(run, tmp_path / 'staged', REPO, 'MIT') / 'README.md').read_text()).text
    assert paper.idea in text and paper.name in text and f'https://arxiv.org/abs/{paper.arxiv}' in text
    change(run / 'result.json', method='baseline')  # the same network, trained with cross-entropy
    assert paper.idea not in ModelCard((stage(run, tmp_path / 'staged', REPO, 'MIT') / 'README.md').read_text()).text
    ideas = {method.paper.idea for method in METHODS.values()}
    assert len(ideas) == len(METHODS) and all(idea.endswith('.') and len(idea) > 80 for idea in ideas)


@pytest.mark.parametrize(('spoil', 'words'), [
    (lambda run: (run / 'result.json').unlink(), 'no result file'),
    (lambda run: (run / 'result.json').write_text('{"model": "x"}'), 'is not a result file'),
    (lambda run: (run / 'result.json').write_text('x'), 'is not a result file'),
    (lambda run: change(run / 'result.json', seed=None), 'seed'),
    (lambda run: change(run / 'result.json', golden=[0.5, 0.25, 4.0]), 'not those that were measured'),
    (lambda run: change(run / 'result.json', golden=[0.5] * 9), 'not those that were measured'),
    (lambda run: change(run / 'result.json', golden=None, weights_sha256='0' * 64), 'neither their sha256 nor golden'),
    (lambda run: change(run / 'config.json', label_names=None), 'names 0 classes'),
    (lambda run: change(run / 'config.json', label_names=['gala', 'kiwi']), 'label_names has 2 names for 3 classes'),
    (lambda run: (run / 'model.safetensors').unlink(), 'no model.safetensors'),
    (lambda run: shutil.copy(run / 'result.json', run / 'baseline.json') and change(run / 'baseline.json', epochs=99), 'another epochs'),
])
def test_refusals(run, tmp_path, spoil, words):
    spoil(run)
    with pytest.raises(UserError, match=words):
        stage(run, tmp_path / 'staged', REPO, 'MIT')
    assert not (tmp_path / 'staged').exists()


def test_refusals_of_arguments(run, tmp_path):
    for license in (None, '', ' '):
        with pytest.raises(UserError, match='need a licence'):
            stage(run, tmp_path / 'staged', REPO, license)
    with pytest.raises(UserError, match='not a picture'):
        stage(run, tmp_path / 'staged', REPO, 'MIT', picture=tmp_path / 'none.png')
    with pytest.raises(UserError, match='no result file'):
        stage(run, tmp_path / 'staged', REPO, 'MIT', result=tmp_path / 'none.json')


def test_result_may_name_the_weights_by_checksum(run, tmp_path):
    change(run / 'result.json', golden=None, weights_sha256=hashlib.sha256((run / 'model.safetensors').read_bytes()).hexdigest())
    check(stage(run, tmp_path / 'staged', REPO, 'MIT'))


def test_weights_that_half_precision_cannot_hold(run, tmp_path):
    state = load_file(run / 'model.safetensors')
    state['classifier.weight'][0, 0] = 1e6
    save_file(state, run / 'model.safetensors')
    change(run / 'result.json', golden=None, weights_sha256=hashlib.sha256((run / 'model.safetensors').read_bytes()).hexdigest())
    with pytest.raises(UserError, match='give --full'):
        stage(run, tmp_path / 'staged', REPO, 'MIT')
    stage(run, tmp_path / 'staged', REPO, 'MIT', full=True)


def test_files_appear_whole_or_not_at_all(run, staged):
    before = {path.name: path.read_bytes() for path in staged.iterdir() if path.name != 'labels.txt'}
    (staged / 'labels.txt').unlink()
    (staged / 'labels.txt').mkdir()  # no file can take this place
    with pytest.raises(UserError, match='cannot write'):
        stage(run, staged, 'tester/other', 'MIT')
    assert {path.name: path.read_bytes() for path in staged.iterdir() if path.is_file() and path.name != '.staging'} == before


def test_damage_is_named(staged):
    assert check(staged) < 1e-4
    (staged / 'labels.txt').write_text('gala\nkiwi\nleak\n')
    (staged / 'result.json').unlink()
    with pytest.raises(UserError, match=r'result\.json is missing; labels\.txt is not what checksums\.json says'):
        check(staged)
    (staged / 'checksums.json').write_text('[]')
    with pytest.raises(UserError, match='is damaged'):
        check(staged)
    (staged / 'checksums.json').unlink()
    with pytest.raises(UserError, match='nothing to compare'):
        check(staged)


def test_other_answers_are_noticed(staged):
    """Files that fit together, but a model that no longer answers as it did."""
    state = load_file(staged / 'model.safetensors')
    state['classifier.bias'][0] += 1
    save_file(state, staged / 'model.safetensors')
    change(staged / 'checksums.json', **{'model.safetensors': hashlib.sha256((staged / 'model.safetensors').read_bytes()).hexdigest()})
    with pytest.raises(UserError, match='does not answer as it did'):
        check(staged)


def test_no_folder_of_this_machine_is_published(run, tmp_path):
    change(run / 'result.json', command='fgvc-zoo evaluate /home/me/run --data folder:/home/me/photos')
    staged = stage(run, tmp_path / 'staged', REPO, 'MIT')
    assert json.loads((staged / 'result.json').read_text())['command'] == 'fgvc-zoo evaluate run --data folder:photos'
    assert not any(b'/home/me' in path.read_bytes() for path in staged.iterdir())


def test_a_class_name_with_a_line_break_is_refused(run, tmp_path):
    config = json.loads((run / 'config.json').read_text())
    change(run / 'config.json', label_names=['gala', 'ki\nwi', 'leek'])
    with pytest.raises(UserError, match=r'ki\\nwi'):
        stage(run, tmp_path / 'staged', REPO, 'MIT')
    assert config and not (tmp_path / 'staged').exists()


def test_files_of_others_are_not_overwritten(run, tmp_path):
    mine = tmp_path / 'project'
    mine.mkdir()
    (mine / 'README.md').write_text('mine')
    with pytest.raises(UserError, match='choose a folder of its own'):
        stage(run, mine, REPO, 'MIT')
    assert (mine / 'README.md').read_text() == 'mine' and len(list(mine.iterdir())) == 1
    before = (run / 'model.safetensors').read_bytes()
    other = shutil.copytree(run, tmp_path / 'other')
    (other / 'model.safetensors').write_bytes(b'of another run')
    for folder in (run, other):
        with pytest.raises(UserError, match='choose a folder of its own'):
            stage(run, folder, REPO, 'MIT')
    assert (run / 'model.safetensors').read_bytes() == before
    assert (other / 'model.safetensors').read_bytes() == b'of another run'


def test_an_interrupted_staging_goes_on(run, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(staging, 'sha256', interrupt)
        stage(run, tmp_path / 'staged', REPO, 'MIT')
    assert not (tmp_path / 'staged' / 'checksums.json').exists()
    assert check(stage(run, tmp_path / 'staged', REPO, 'MIT')) < 1e-4
    assert not (tmp_path / 'staged' / '.staging').exists()


def interrupt(path):
    raise KeyboardInterrupt


@pytest.mark.parametrize(('config', 'expected'), [
    (dict(model='wsdan_test_resnet', pretrained_backbone=True), 'timm/test_resnet.r160_in1k'),
    (dict(model='wsdan_test_resnet', pretrained_backbone=True, recipe=dict(model_args=dict(backbone='test_resnet.other'))), ''),
    (dict(model='test_resnet.r160_in1k', pretrained_backbone=True), 'timm/test_resnet.r160_in1k'),
    (dict(model='wsdan_test_resnet', pretrained_backbone=False), ''),
    (dict(model='wsdan_test_resnet', pretrained_backbone='weights.safetensors'), ''),
    (dict(model='wsdan_tf_efficientnet_lite0.grocery81', pretrained_backbone=True), ''),
    (dict(model='hf-hub:tester/pears@v1', pretrained_backbone=True), 'tester/pears'),
])
def test_the_weights_that_a_run_began_with(run, tmp_path, config, expected):
    (run / 'run.json').write_text(json.dumps(dict(config=config, images=1234)))
    card = ModelCard((stage(run, tmp_path / 'staged', REPO, 'MIT') / 'README.md').read_text())
    assert (card.data.base_model or '') == expected
    assert 'Trained on 1,234 photographs.' in card.text


def test_the_licence_of_the_weights_that_a_run_began_with_is_named(run, tmp_path):
    record = dict(config=dict(model='wsdan_test.birds', pretrained_backbone=True), start_license='research only')
    (run / 'run.json').write_text(json.dumps(record))
    with pytest.warns(UserWarning, match="began with the weights of 'wsdan_test.birds', whose licence is 'research only'"):
        stage(run, tmp_path / 'staged', REPO, 'MIT')


@pytest.mark.parametrize('content', [
    '{', '[]', '{"config": 3}', '{"config": {"model": "m", "pretrained_backbone": true}, "images": "many"}'])
def test_a_damaged_run_is_refused(run, tmp_path, content):
    (run / 'run.json').write_text(content)
    with pytest.raises(UserError, match=r"run\.json' is damaged"):
        stage(run, tmp_path / 'staged', REPO, 'MIT')
    assert not (tmp_path / 'staged').exists()
