"""The demo's page in a real browser."""

import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytest.importorskip('gradio', reason="needs Gradio: pip install 'fgvc-zoo[demo]'")
pytest.importorskip('playwright', reason="needs Playwright: pip install 'fgvc-zoo[test]'")

from playwright.sync_api import expect, sync_playwright

from fgvc_zoo._errors import UserError
from fgvc_zoo.demo import build_demo, start_demo
from fgvc_zoo.demo.answers import MAX_BYTES

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / 'hub' / 'space' / 'examples'
PATIENCE = 60_000  # milliseconds on a machine that is busy with other things


@pytest.fixture(scope='module')
def url():
    demo = build_demo(examples=EXAMPLES)
    yield start_demo(demo, '127.0.0.1')
    demo.close(verbose=False)


@pytest.fixture(scope='module')
def browser():
    with sync_playwright() as playwright:
        found = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
        if found is None and not Path(playwright.chromium.executable_path).exists():
            pytest.skip('needs a Chromium: that of the system, or `playwright install chromium`')
        browser = playwright.chromium.launch(executable_path=found, args=['--no-sandbox'])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, url):
    """Open the page as a new visitor."""
    contexts = []

    def open_page(**options):
        contexts.append(browser.new_context(**options))
        contexts[-1].set_default_timeout(PATIENCE)
        page = contexts[-1].new_page()
        page.goto(url)
        page.locator('.hint').wait_for()
        return page
    expect.set_options(timeout=PATIENCE)
    yield open_page
    for context in contexts:
        context.close()


def give(page, path):
    page.locator('input[type=file]').set_input_files(path)


def heading(page):
    return page.locator('.answer h2')


def test_upload_answer_and_another_model(browser, url):
    page = browser.new_page()
    asked = []
    page.on('request', lambda request: asked.append(urlsplit(request.url)))
    page.goto(url)
    give(page, EXAMPLES / 'conference.jpg')
    expect(heading(page)).to_have_text('Conference', timeout=PATIENCE)
    picture = page.get_by_role('img', name='object, enlarged')
    assert picture.evaluate('image => image.naturalWidth') == 448 and picture.evaluate('image => image.width') > 200
    page.get_by_label('Birds: API-Net').check()
    expect(page.locator('.answer .about')).to_contain_text('apinet_tf_efficientnet_lite0.cub200: 200 classes', timeout=PATIENCE)
    expect(heading(page)).not_to_have_text('Conference')
    assert {where.hostname for where in asked if where.scheme.startswith('http')} == {urlsplit(url).hostname}
    page.close()


def test_bad_files(visit, tmp_path):
    """Each gets one sentence, and a good photograph is answered afterwards."""
    page = visit()
    (tmp_path / 'text.jpg').write_text('not an image')
    give(page, tmp_path / 'text.jpg')
    expect(page.get_by_role('alert')).to_have_text("'text.jpg' is not an image that can be read.")
    page.reload()
    (tmp_path / 'heavy.jpg').write_bytes((EXAMPLES / 'cat.jpg').read_bytes().ljust(MAX_BYTES + 1))
    give(page, tmp_path / 'heavy.jpg')
    expect(page.get_by_text('exceed the maximum allowed size of 16')).to_be_visible()
    expect(page.locator('.answer').first).not_to_contain_text('%')
    page.reload()
    give(page, EXAMPLES / 'cat.jpg')
    expect(heading(page)).to_have_text('Perhaps none of these')


def test_two_visitors_get_their_own_answers(visit):
    pages = {'Royal Gala': visit(), 'Yellow Bell Pepper': visit()}
    for name, page in pages.items():
        give(page, EXAMPLES / f"{name.lower().replace(' ', '_')}.jpg")
    for name, page in pages.items():
        expect(heading(page)).to_have_text(name)


def test_a_phone_shows_everything_without_sideways_scrolling(visit):
    page = visit(viewport=dict(width=360, height=740), has_touch=True, is_mobile=True, color_scheme='dark')
    page.get_by_role('button', name='Satsumas').tap()
    expect(heading(page)).to_have_text('Orange')
    page.get_by_role('button', name='Ask all five methods').tap()
    expect(page.locator('.methods article')).to_have_count(6)
    wide = page.evaluate(
        "() => [document.documentElement.scrollWidth, ...[...document.querySelectorAll('h1, h2, h3, button, label, img, li')]"
        ".map(element => element.getBoundingClientRect().right)]")
    assert max(wide) <= 360
    give(page, EXAMPLES / 'cat.jpg')
    expect(page.locator('.methods')).to_have_count(0)  # they were of the photograph before


def test_keyboard(visit):
    """Tab reaches every control in the order of the page, and the keys work them."""
    page = visit()
    focused = """() => {
        const element = document.activeElement
        return element.getAttribute('aria-label') || (element.labels?.[0] || element).innerText.trim()
    }"""
    reached = []
    for _ in range(20):
        page.keyboard.press('Tab')
        reached.append(page.evaluate(focused))
        if reached[-1] == 'Ask all five methods':
            break
    order = ['Upload file', 'Capture from camera', 'Paste from clipboard', 'Royal Gala', 'Groceries: WS-DAN', 'Ask all five methods']
    assert [name for name in reached if name in order] == order, reached
    page.get_by_role('button', name='Royal Gala').focus()
    page.keyboard.press('Enter')
    expect(heading(page)).to_have_text('Royal Gala')
    page.get_by_label('Birds: API-Net').focus()
    page.keyboard.press('Space')
    expect(page.locator('.answer .about')).to_contain_text('apinet_')


def test_screen_reader(visit):
    """Headings in order, a name for every control, a text for every picture, and answers that are read when they come."""
    page = visit()
    page.get_by_role('button', name='Conference').click()
    page.get_by_role('button', name='Ask all five methods').click()
    expect(page.locator('.methods article')).to_have_count(6)
    levels = page.evaluate("() => [...document.querySelectorAll('h1, h2, h3')].map(element => Number(element.tagName[1]))")
    assert levels[0] == 1 and levels.count(1) == 1 and all(after <= before + 1 for before, after in pairwise(levels))
    assert page.locator('img:not([alt]), img[alt=""]').count() == 0
    controls = re.findall(r"- '?(?:button|radio)\b(.*)", page.locator('main').aria_snapshot())
    assert len(controls) > 15 and all(control.startswith(' "') for control in controls)  # a name
    expect(page.locator('.answer[aria-live=polite]').first).to_be_visible()
    assert page.evaluate('() => document.documentElement.lang') == 'en' and 'fgvc-zoo' in page.title()


def test_the_command_serves_and_stops():
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f'cannot listen on 127.0.0.1, port {port} '):
            start_demo(build_demo(), '127.0.0.1', port)
    command = [sys.executable, '-W', 'ignore', '-m', 'fgvc_zoo', 'demo', '--port', str(port)]
    process = subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # a shell's background jobs ignore it
    try:
        assert process.stderr.readline() == f'fgvc-zoo: open http://127.0.0.1:{port}/ in a browser; Ctrl-C stops it\n'
        with urllib.request.urlopen(f'http://127.0.0.1:{port}/', timeout=60) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0 and 'Traceback' not in process.stderr.read()
    finally:
        process.kill()
