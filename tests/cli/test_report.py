"""`fgvc-zoo evaluate --report`: the page and the predictions of real models."""

import csv
import shutil
import sys

import pytest
import timm

from fgvc_zoo.saving import save_model


@pytest.fixture
def evaluate(call, photos, tmp_path):
    """Runs the command with --report; returns the text of the page and the rows of the predictions."""
    def run(model, data=photos):
        status, _, err = call('evaluate', model, '--data', f'folder:{data}', '--workers', 0, '--report', tmp_path / 'out')
        assert status == 0 and 'the report is' in err
        with open(tmp_path / 'out' / 'predictions.csv', newline='', encoding='utf-8') as file:
            return (tmp_path / 'out' / 'report.html').read_text(encoding='utf-8'), list(csv.DictReader(file))

    return run


def test_a_two_pass_model_is_run_once_and_both_passes_are_shown(evaluate, run_folder, monkeypatch):
    from fgvc_zoo.models.two_pass import TwoPassModel

    calls = []
    inner = TwoPassModel.forward_passes
    monkeypatch.setattr(TwoPassModel, 'forward_passes', lambda self, images: calls.append(len(images)) or inner(self, images))
    page, rows = evaluate(run_folder)
    assert sum(calls) == len(rows) == 6
    assert all(f'<th scope="row">{name}</th>' in page for name in ('raw', 'refined', 'combined'))



def test_the_report_needs_no_plotting_library(evaluate, run_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    assert '<svg' in evaluate(run_folder)[0]


def test_a_single_pass_model(evaluate, tmp_path):
    model = timm.create_model('apinet', backbone='test_resnet', num_classes=3)
    model.pretrained_cfg.update(input_size=(3, 64, 64), num_classes=3)
    page, rows = evaluate(save_model(model, tmp_path / 'run', label_names=['gala', 'kiwi', 'leek']))
    assert 'refined' not in page and len(rows) == 6


def test_a_model_that_knows_some_of_the_classes(evaluate, run_folder, photos, tmp_path):
    shutil.copytree(photos / 'test', tmp_path / 'own' / 'test')
    (tmp_path / 'own' / 'test' / 'leek').rename(tmp_path / 'own' / 'test' / 'durian')
    with pytest.warns(UserWarning, match='unknown to it'):
        page, rows = evaluate(run_folder, tmp_path / 'own')
    assert {row['true'] for row in rows} == {'gala', 'kiwi'} and len(rows) == 4
    assert 'The data have 2 of the 3 classes that the model knows' in page and 'does not know them: durian' in page


def test_a_folder_that_cannot_be_written_is_found_before_measuring(call, run_folder, photos, tmp_path, monkeypatch):
    from fgvc_zoo import evaluation

    monkeypatch.setattr(evaluation, 'collect_answers', lambda *_, **__: pytest.fail('it was measured'))
    (tmp_path / 'file').write_text('x')
    status, _, err = call('evaluate', run_folder, '--data', f'folder:{photos}', '--report', tmp_path / 'file' / 'report')
    assert status == 2 and 'nothing can be written to' in err.splitlines()[-1]


def test_a_report_among_the_photographs_would_be_a_class(call, run_folder, photos):
    place = photos / 'test' / 'report'
    status, _, err = call('evaluate', run_folder, '--data', f'folder:{photos}', '--report', place)
    assert status == 2 and 'would be a class of the photographs' in err and not place.exists()
