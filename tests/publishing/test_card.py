"""The model card as text: opponents, confusions, licences."""

import html
from email.message import Message

import pytest
from huggingface_hub import ModelCard

from fgvc_zoo._errors import plain
from fgvc_zoo.models import Paper
from fgvc_zoo.publishing import card as card_module
from fgvc_zoo.publishing.card import as_text, project_page, render_card

CONFIG = dict(architecture='wsdan_test', label_names=['gala', 'kiwi', 'leek'])


def record(correct='1110', **metrics):
    figures = dict(top1=75.0, top5=100.0, mean_per_class=74.5, correct=correct, per_class={'gala': 50.0, 'kiwi': 100.0, 'leek': 100.0})
    return dict(method='wsdan', model='wsdan_test', data='fruit', split='test', input_size=64, epochs=3, seed=1, recipe={},
                metrics={**figures, **metrics})


def card(result=None, opponents=None, **changes):
    arguments = dict(
        repo_id='tester/apples', config=CONFIG, record=result or record(), opponents=opponents or {}, license='MIT', about='photographs.',
        picture='', rounded=False, files=[], paper=Paper('A Paper', '1234.56789', 'It finds apples.'))
    return render_card(**{**arguments, **changes})


def test_without_opponents():
    text = card()
    assert 'No baseline was published with these figures.' in text
    assert 'Against the' not in text
    assert 'trained on photographs\n' in text.replace('photographs.\n', 'photographs\n')
    assert '[arXiv:1234.56789](https://arxiv.org/abs/1234.56789)' in text and 'It finds apples.' in text
    assert 'topk(3)' in text  # not five of three classes


def test_opponents_are_compared_image_by_image():
    worse = record('1000', top1=25.0)
    text = card(opponents=dict(plain=worse, baseline=record('1110')))
    assert 'Against the plain fine-tuning: +50.00 points' in text
    assert 'Against the baseline: +0.00 points' in text
    assert '| baseline | 75.00 | 100.00 | 74.50 |' in text
    assert 'No baseline' not in text
    older = dict(worse, metrics={key: value for key, value in worse['metrics'].items() if key != 'correct'})
    assert 'Against the' not in card(opponents=dict(plain=older))  # it does not say which images were right


def test_the_data_set_is_cited():
    dataset = dict(title='Fruit_81', home='https://example.org', licence='MIT', citation='A. <b>Author</b>: Fruit. 2020', images=12)
    text = card(dict(record(), dataset=dataset))
    assert 'Data: Fruit\\_81, 12 photographs measured (https://example.org).' in text
    assert 'Licence of the data: MIT.' in text and 'Reference: A. &lt;b&gt;Author&lt;/b&gt;: Fruit. 2020.' in text
    assert 'Licence of the data' not in card(dict(record(), dataset=dict(dataset, licence='')))
    assert 'Data:' not in card()


def test_what_was_measured_and_trained_on():
    assert 'Measured on the 4 photographs of the test split of own photographs (the folder \'fruit\') at\n64 px' in card()
    assert 'the test split of CUB-200-2011 at' in card(dict(record(), data='cub200'))
    assert 'Trained on 1,200 photographs.' in card(about='', trained_images=1200)
    assert ', trained on 1,200 photographs.' in card(about='', trained_images=1200)
    assert 'trained on' not in card(about='').lower()


def test_how_to_install_it_and_where_the_project_is(monkeypatch):
    text = card()
    assert '```\npip install fgvc-zoo\n```' in text and 'the package **fgvc-zoo**' in text
    assert '```\npip install fgvc-zoo apples\n```' in card(package='apples')
    monkeypatch.setattr(card_module, 'project_page', lambda: 'https://example.org/zoo')
    assert 'the package [**fgvc-zoo**](https://example.org/zoo)' in card()


def test_the_page_of_a_project_is_that_of_its_metadata(monkeypatch):
    found = Message()
    monkeypatch.setattr(card_module, 'metadata', lambda name: found)
    assert project_page() == ''
    found['Project-URL'] = 'Source, https://example.org/zoo'
    found['Project-URL'] = 'Tracker, https://example.org/issues'
    assert project_page() == 'https://example.org/zoo'
    monkeypatch.undo()
    assert project_page('no-such-distribution') == ''


def test_all_classes_are_listed_up_to_a_thousand():
    assert 'The 3 classes</summary>\n\ngala, kiwi, leek.\n' in card()
    many = [f'class_{index}' for index in range(1203)]
    text = card(config=dict(CONFIG, label_names=many))
    assert 'class\\_998, class\\_999 and 203 more.' in text and 'class\\_1000' not in text


def test_the_weights_it_began_with():
    text = card(base_model='timm/test_resnet.r160_in1k')
    assert ModelCard(text).data.base_model == 'timm/test_resnet.r160_in1k'
    assert 'Training began with the weights of `timm/test_resnet.r160_in1k`.' in text
    assert ModelCard(card()).data.base_model is None and 'Training began' not in card()


def test_the_paper_is_cited():
    cited = Paper('A Paper', '1234.56789', 'It finds apples.', 'Author, Other: A Paper. 2020')
    assert '## Cite\n\nAuthor, Other: A Paper. 2020. arXiv:1234.56789.\n' in card(paper=cited)
    assert '## Cite' not in card() and '## Cite' not in card(paper=None)


def test_limits():
    text = card(record(ece=0.25, confusions=[dict(true='gala', predicted='leek', count=2)]), rounded=True)
    assert 'off by 25 percentage points' in text
    assert 'Most frequent confusions: gala taken for leek.' in text
    assert 'rounded to half precision' in text
    assert 'percentage points on average' not in card()


@pytest.mark.parametrize(('license', 'expected', 'name'), [
    ('MIT', 'mit', None), ('Research only, as the photographs', 'other', 'research-only')])
def test_licence_for_the_hub(license, expected, name):
    data = ModelCard(card(license=license)).data
    assert data.license == expected
    assert data.get('license_name') == name


ODD = ['<script>alert(1)</script>', '![x](http://example.org/x.png)', '# heading', '1. item', 'a|b', '*bold* `code`', 'a\nb']


def test_texts_from_outside_have_no_markup():
    """The oracle is a Markdown renderer: it shows each text as it was given, and makes no tag of its own from it."""
    markdown = pytest.importorskip('markdown_it')  # rich needs it
    for text in ODD:
        shown = markdown.MarkdownIt('commonmark').render(f'- {as_text(text)}: 1.0')
        assert shown == f'<ul>\n<li>{html.escape(plain(text))}: 1.0</li>\n</ul>\n'


def test_names_licence_and_data_are_escaped():
    names = dict.fromkeys(ODD, 50.0)
    config = dict(CONFIG, label_names=ODD)
    text = card(record(per_class=names, confusions=[dict(true=ODD[0], predicted=ODD[1], count=2)]), config=config,
                license='<b>MINE</b>', about='![x](http://example.org/x.png)')
    for odd in ('<script>', '![x](', '<b>', '- # heading'):
        assert odd not in text.partition('\n---\n')[2]
    assert ModelCard(text).data.license == 'other'
