"""The page: what it shows, what it escapes, and that it needs nothing else."""

import pytest
from page_reader import Page
from PIL import Image

from fgvc_zoo import UserError
from fgvc_zoo._pages import check_page
from fgvc_zoo.explain import PAGE, Example, sheet_of, write_page


def test_the_page_shows_every_photograph(prediction, cfg, tmp_path):
    examples = [Example('gala', Image.new('RGB', (8, 8))), Example('kiwi', None)]
    write_page(tmp_path / PAGE, 'my model', iter([
        sheet_of(prediction(parts=8, looks=2, path='one.jpg', unknown=True), cfg, examples),
        sheet_of(prediction(parts=2, path='two.jpg'), cfg), sheet_of(prediction(explanation=None, names=[], path='three.jpg'), cfg)]))
    page = Page((tmp_path / PAGE).read_text(encoding='utf-8'))
    for text in ('my model', '3 photographs', 'one.jpg', 'two.jpg', 'three.jpg', 'perhaps none of these', 'part 7', 'strongest', '50.0 %',
                 'attention: 6 of 8 parts', 'classes: look 1', 'classes: together', 'There is no photograph.',
                 'no class is probable enough'):
        assert text in page.text, text
    assert len(page.images) == 4 + 1 + 8 + 4 + 1
    assert page.tags.count('figcaption') == page.tags.count('figure')  # HTML allows one a figure
    assert all(image['alt'] and image['src'].startswith('data:image/jpeg;base64,') for image in page.images)


def test_it_needs_no_other_file_and_runs_nothing(prediction, cfg, tmp_path):
    write_page(tmp_path / PAGE, 'm', [sheet_of(prediction(parts=8), cfg)])
    text = (tmp_path / PAGE).read_text(encoding='utf-8')
    page = Page(text)
    assert 'script' not in page.tags and 'link' not in page.tags and 'http:' not in text and 'https:' not in text
    assert any("default-src 'none'" in (value or '') for _, value in page.attributes)


def test_names_from_outside_are_text(prediction, cfg, tmp_path):
    nasty = '<b onclick="x">&"\x1b'
    answer, example = prediction(names=[nasty], path=f'{nasty}.jpg'), Example(nasty, Image.new('RGB', (8, 8)))
    write_page(tmp_path / PAGE, nasty, [sheet_of(answer, cfg, [example])])
    page = Page((tmp_path / PAGE).read_text(encoding='utf-8'))
    assert page.text.count('<b onclick="x">&"') >= 4
    assert not any(name == 'onclick' for name, _ in page.attributes)


def test_a_page_of_another_program_stays(prediction, cfg, tmp_path):
    path = tmp_path / PAGE
    check_page(path)
    write_page(path, 'm', [sheet_of(prediction(), cfg)])
    check_page(path)
    path.write_text('<html>mine</html>')
    with pytest.raises(UserError, match='was not written by fgvc-zoo'):
        check_page(path)
