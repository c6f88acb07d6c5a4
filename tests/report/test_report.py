"""The page: what it shows, what it escapes, and that it needs nothing else."""

import base64
import csv
import io
import re

import pytest
import torch
from page_reader import Page
from PIL import Image

from fgvc_zoo._errors import UserError
from fgvc_zoo.calibration import Calibration
from fgvc_zoo.data import Grocery, open_dataset
from fgvc_zoo.evaluation import Answers, summarize
from fgvc_zoo.report import check_report_folder, write_report
from fgvc_zoo.report.pictures import SIDE, photo_of


@pytest.fixture
def report(photos, tmp_path):
    """Writes the report of made-up logits for the six photographs; returns the page and the rows of the predictions."""
    def write(logits, targets=None, names=None, calibration=Calibration(), **record):
        dataset = open_dataset(f'folder:{photos}', 'test')
        dataset.targets = targets or dataset.targets
        dataset.class_names = names or dataset.class_names
        answers = Answers(dict(combined=torch.tensor(logits)), torch.tensor(dataset.targets), None, calibration)
        metrics = summarize(answers, dataset, {})
        result = dict(
            model='wsdan', method='wsdan', backbone='test_resnet', data='photos', split='test', input_size=64, metrics=metrics,
            command='fgvc-zoo evaluate', versions=dict(torch='2.0'), weights_sha256='ab') | record
        page = write_report(tmp_path / 'report', result, answers, dataset)
        with open(tmp_path / 'report' / 'predictions.csv', newline='', encoding='utf-8') as file:
            rows = list(csv.DictReader(file))
        return Page(page.read_text(encoding='utf-8')), rows, metrics

    return write


# gala is right, one kiwi is taken for gala, both leeks are taken for kiwi; leek is never predicted
LOGITS = [[4.0, 0, 0], [3, 0, 0], [0, 2, 0], [5, 0, 0], [0, 1, 0], [0, 6, 0]]


def test_the_predictions_are_those_of_the_metrics(report):
    _, rows, metrics = report(LOGITS)
    assert [row['path'] for row in rows] == [f'{name}/{index}.jpg' for name in ('gala', 'kiwi', 'leek') for index in (0, 1)]
    assert [row['true'] for row in rows] == ['gala', 'gala', 'kiwi', 'kiwi', 'leek', 'leek']
    assert [row['predicted'] for row in rows] == ['gala', 'gala', 'kiwi', 'gala', 'kiwi', 'kiwi']
    assert ''.join('1' if row['true'] == row['predicted'] else '0' for row in rows) == metrics['correct'] == '111000'
    for row, logits in zip(rows, LOGITS, strict=True):
        exps = [2.718281828459045 ** value for value in logits]
        assert float(row['probability']) == pytest.approx(max(exps) / sum(exps), abs=1e-6)


def test_a_calibrated_page_shows_the_figures_of_its_own_probabilities(report):
    page, rows, metrics = report(LOGITS, calibration=Calibration(0.5, 0.0, 9))
    for key in ('ece', 'nll'):
        assert f'{metrics[key]:.3f}' != f"{metrics['calibrated'][key]:.3f}"
        assert f"{metrics['calibrated'][key]:.3f}" in page.text and f'{metrics[key]:.3f}' not in page.text
    exps = [2.718281828459045 ** (value / 0.5) for value in LOGITS[0]]
    assert float(rows[0]['probability']) == pytest.approx(exps[0] / sum(exps), abs=1e-6)


def test_the_page_shows_the_figures_and_the_pairs(report):
    page, _, metrics = report(LOGITS, **Grocery.info.reference(6))
    for text in ('50.00 %', f"{metrics['ece']:.3f}", f"{metrics['nll']:.3f}", '3 of 6 images are wrong', 'Klasson', 'MIT', '2 of 2 images'):
        assert text in page.text
    assert page.text.index('leek taken for kiwi') < page.text.index('kiwi taken for gala')
    # of both leeks that one which is taken for kiwi with more certainty, and the kiwi that is right
    first, second = page.images[:2]
    assert first['title'] == 'leek/1.jpg' and second['title'] == 'kiwi/0.jpg'
    assert first['alt'] == 'A photograph of leek that is taken for kiwi' and second['alt'] == 'A photograph of kiwi'
    assert all(image['alt'] and int(image['width']) <= SIDE for image in page.images)
    assert 'All 3 classes that are in the data or were predicted' in page.text


def test_the_page_needs_nothing_else(report):
    page, _, _ = report(LOGITS)
    assert not {'script', 'link', 'iframe', 'object'} & set(page.tags)
    assert [value for name, value in page.attributes if name in ('src', 'href') and not value.startswith('data:')] == ['predictions.csv']
    for image in page.images:
        picture = Image.open(io.BytesIO(base64.b64decode(image['src'].removeprefix('data:image/jpeg;base64,'))))
        assert picture.size == (int(image['width']), int(image['height']))
    assert any('prefers-color-scheme: dark' in text for text in page.texts)
    assert not re.search(r'url\(|@import', page.text)


def test_names_cannot_act_on_the_page(report):
    hostile = ['<script>alert(1)</script>', '" onerror="alert(1)', "a\u202eb\n{{ 7 * 7 }} &amp;"]
    page, rows, _ = report(
        LOGITS, names=hostile, model='<b>m</b>', command='<i>x</i>', classes=dict(matched=['x'], unknown=['<u>unknown</u>']),
        dataset=dict(title='<s>t</s>', home='https://x/"><s>', licence='<s>', citation='<s>c</s>', images=6))
    assert not {'script', 's', 'u'} & set(page.tags) and 'onerror' not in dict(page.attributes)
    for name in (*hostile[:2], 'a\\u202eb\\n{{ 7 * 7 }} &amp;', '<b>m</b>', '<i>x</i>', '<u>unknown</u>', '<s>t</s>'):
        assert name in page.text
    assert [row['true'] for row in rows][::2] == hostile


def test_no_image_is_wrong(report):
    page, _, _ = report([[9.0, 0, 0]] * 2 + [[0, 9.0, 0]] * 2 + [[0, 0, 9.0]] * 2)
    assert 'No image is wrong.' in page.text and 'There are none.' in page.text and page.images == []


def test_a_class_may_have_the_name_of_a_figure(report):
    page, _, _ = report(LOGITS, names=['top1', 'kiwi', 'leek'])
    assert 'top1' in page.text


def test_a_predicted_class_without_images_has_no_photograph(report):
    page, _, _ = report([[*row, 0.0] for row in LOGITS[:5]] + [[0, 0, 0, 9.0]], names=['gala', 'kiwi', 'leek', 'durian'])
    assert 'The data have no image of durian.' in page.text


def test_a_planted_wrong_label_is_shown(report):
    logits = [[6.0, 0, 0], [6.0, 0, 0], [0, 6.0, 0], [0, 6.0, 0], [0, 0, 6.0], [0, 6.0, 0]]
    page, _, _ = report(logits)
    assert '1 of 6 images. Most of them may be' in page.text and 'labelled leek (0.2 %), suggested kiwi' in page.text
    assert page.images[-1]['title'] == 'leek/1.jpg'
    assert 'These are training images' not in page.text
    assert 'These are training images' in report(logits, split='fit')[0].text


def test_many_classes_show_the_confused_ones(photos, tmp_path):
    """Of 60 classes, 20 pairs with mistakes and one more: the matrix has 40 rows."""
    dataset = open_dataset(f'folder:{photos}', 'test')
    count = 60
    for name in ('keys', 'paths', '_pixel_boxes'):
        setattr(dataset, name, [getattr(dataset, name)[0]] * count)
    dataset.targets, dataset.class_names = list(range(count)), [f'class {index}' for index in range(count)]
    predicted = [index ^ 1 if index < 40 else index for index in range(count)]
    predicted[59] = 58
    answers = Answers(dict(combined=9 * torch.nn.functional.one_hot(torch.tensor(predicted), count).float()), torch.arange(count), None)
    record = dict(model='m', method='', backbone='b', data='d', split='test', input_size=64, command='c', versions={}, weights_sha256='',
                  metrics=summarize(answers, dataset, {}))
    page = Page(write_report(tmp_path, record, answers, dataset).read_text())
    assert 'The 40 of 60 classes with the most frequent confusions; 40 of the 41 wrong images are between them' in page.text
    assert 'The other 35 classes' in page.text


def test_thumbnails_are_small_and_without_metadata(tmp_path):
    exif = Image.Exif()
    exif[0x010E] = 'the description'
    (tmp_path / 'test' / 'a').mkdir(parents=True)
    Image.new('RGB', (2000, 1000), 'red').save(tmp_path / 'test' / 'a' / '0.jpg', exif=exif)
    photo = photo_of(open_dataset(f'folder:{tmp_path}', 'test'), 0)
    assert (photo.width, photo.height, photo.key) == (240, 120, 'a/0.jpg')
    assert b'the description' not in base64.b64decode(photo.source.partition(',')[2])


def test_a_file_that_is_no_report_is_kept(tmp_path, report):
    report(LOGITS)
    check_report_folder(tmp_path / 'report')  # one that is there may be replaced
    for name in ('report.html', 'predictions.csv'):
        folder = tmp_path / name.replace('.', '_')
        folder.mkdir()
        (folder / name).write_text('mine')
        with pytest.raises(UserError, match='was not written by fgvc-zoo'):
            check_report_folder(folder)
    (tmp_path / 'file').write_text('x')
    with pytest.raises(UserError, match='nothing can be written to'):
        check_report_folder(tmp_path / 'file')
