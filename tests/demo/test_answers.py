"""What the demo answers, without a browser."""

import html
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('gradio', reason="needs Gradio: pip install 'fgvc-zoo[demo]'")

from fgvc_zoo._errors import UserError
from fgvc_zoo.calibration import Calibration
from fgvc_zoo.demo import answers, build_demo
from fgvc_zoo.demo.rendering import NO_PHOTO, UNKNOWN, render_answer, render_comparison

EXAMPLES = Path(__file__).parents[2] / 'hub' / 'space' / 'examples'
GROCERIES = 'wsdan_tf_efficientnet_lite0.grocery81'


def text_of(page):
    return html.unescape(re.sub(r'<[^>]*>', '\n', page))


def test_answer():
    page = render_answer(GROCERIES, EXAMPLES / 'royal_gala.jpg')
    assert '<h2>Royal Gala</h2>' in page and UNKNOWN not in page
    shares = [float(share) for share in re.findall(r'([\d.]+) %</span>', page)]
    assert len(shares) == answers.TOP and shares == sorted(shares, reverse=True) and 50 < sum(shares) <= 100.3
    pictures = re.findall(r'<img src="data:image/jpeg;base64,[^"]+" alt="([^"]+)"', page)
    assert pictures == ['photograph', 'attention: mean', 'attention: 6 of 16 parts', 'object, enlarged']
    assert 'Top-1 accuracy on the test photographs: 91.4\N{NO-BREAK SPACE}%' in text_of(page) and 'not calibrated' not in page


def test_unknown(monkeypatch):
    """A cat is no grocery; a model that is not calibrated cannot tell."""
    assert f'<h2>{UNKNOWN}</h2>' in render_answer(GROCERIES, EXAMPLES / 'cat.jpg')
    assert 'non-commercial' in render_answer('apinet_tf_efficientnet_lite0.cub200', EXAMPLES / 'cat.jpg')
    monkeypatch.setattr(answers.load_once(GROCERIES), 'calibration', None)
    page = render_answer(GROCERIES, EXAMPLES / 'cat.jpg')
    assert UNKNOWN not in page and 'not calibrated' in page


def test_all_methods():
    page = render_comparison(EXAMPLES / 'red_winged_blackbird.jpg')
    titles = re.findall('<h3>([^<]+)</h3>', page)
    assert titles == ['API-Net', 'OSME', 'RA-CNN', 'WS-BAN', 'WS-DAN', 'How often each is right']
    cards = page.split('<article>')[1:]
    assert all(card.count('<li>') == 3 and card.count('<img ') == 2 for card in cards[:5])
    assert [re.findall('class="name">([^<]+)', card)[0] for card in cards[:5]] == 5 * ['Red winged Blackbird']
    assert len({re.sub('<img[^>]*>', '', card) for card in cards}) == 6  # each answers for itself
    assert '85.3 %' in cards[5]


def test_each_method_says_whether_it_is_something_else(monkeypatch):
    compared = answers.compared_models()
    sure = compared[1].name  # is told to take everything for a bird, and all others nothing
    for item in compared:
        monkeypatch.setattr(answers.load_once(item.name), 'calibration', Calibration(1.0, float(item.name != sure), 9))
    cards = render_comparison(EXAMPLES / 'cat.jpg').split('<article>')[1:]
    assert [UNKNOWN in card for card in cards] == [item.name != sure for item in compared] + [False]
    for item in compared:
        named = answers.method_label(item) in cards[5].partition('The probabilities of')[2]
        assert named == (item.calibration is None)


def test_no_photograph():
    assert render_answer(GROCERIES, None) == render_comparison(None) == NO_PHOTO


@pytest.mark.parametrize(('name', 'words'), [
    ('text.jpg', 'is not an image that can be read'),
    ('empty.jpg', 'is empty'),
    ('cut.jpg', 'is damaged or cut off'),
    ('wide.png', 'has 10000 x 5001 pixels, more than the 50 million allowed'),
    ('heavy.jpg', 'has 16.0 MB, more than the 16 MB allowed'),
    ('missing.jpg', 'does not exist'),
    ('<b>&.jpg', 'is not an image that can be read'),
])
def test_a_bad_file_is_one_sentence(tmp_path, name, words):
    photo, good = tmp_path / name, (EXAMPLES / 'cat.jpg').read_bytes()
    if name == 'wide.png':
        Image.fromarray(np.zeros((5001, 10_000), np.uint8)).save(photo)
    elif name != 'missing.jpg':
        photo.write_bytes({'empty.jpg': b'', 'cut.jpg': good[:9000], 'heavy.jpg': good.ljust(answers.MAX_BYTES + 1)}.get(name, b'text'))
    for page in (render_answer(GROCERIES, photo), render_comparison(photo)):
        assert re.fullmatch(r'<p class="problem" role="alert">[^<]+</p>', page)
        sentence = text_of(page).strip()
        assert words in sentence and f"'{name}'" in sentence and sentence[-1] == '.'
        assert str(tmp_path) not in sentence


def test_models_by_readable_names():
    names = [answers.label(name) for name in answers.packaged_models()]
    assert names[0] == 'Groceries: WS-DAN' and 'Birds: API-Net' in names and len(set(names)) == len(names) == 6
    assert answers.load_once(GROCERIES) is answers.load_once(GROCERIES)


def test_a_run_is_offered_first(run_folder):
    demo = build_demo([str(run_folder)])
    radio, = (block for block in demo.blocks.values() if type(block).__name__ == 'Radio')
    assert radio.value == str(run_folder) and radio.choices[0] == (str(run_folder), str(run_folder))
    assert len(radio.choices) == 7
    page = render_answer(str(run_folder), EXAMPLES / 'cat.jpg')
    assert '3 classes' in text_of(page) and page.count('<li>') == 3


def test_a_model_that_does_not_exist():
    with pytest.raises(UserError, match="has no trained weights .* did you mean 'wsdan_tf_efficientnet_lite0.cub200'"):
        build_demo(['wsdan_tf_efficientnet_lite0.cub2000'])


def test_requests_are_bounded():
    demo = build_demo()
    assert demo._queue.max_size == 20 and not demo.analytics_enabled
    slow = [fn for fn in demo.fns.values() if fn.fn in (render_answer, render_comparison)]
    assert len(slow) == 2
    assert {(fn.concurrency_id, fn.concurrency_limit) for fn in slow} == {('model', 1)}


def test_starting_leaves_no_file_in_the_package():
    """Gradio writes an interface file beside every module with a component class of its own."""
    build_demo()
    folder = Path(answers.__file__).parent
    assert not list(folder.glob('*.pyi'))


def test_without_gradio_the_command_says_what_to_install():
    code = ("import sys\nsys.modules['gradio'] = None\nsys.argv = ['fgvc-zoo', 'demo']\nimport fgvc_zoo_cli\nfgvc_zoo_cli.main()")
    result = subprocess.run([sys.executable, '-c', code], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr == "fgvc-zoo: error: the demo needs 'gradio': pip install 'fgvc-zoo[demo]'\n"
