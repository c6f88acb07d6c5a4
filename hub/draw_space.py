"""Draw the pictures of the demo in docs/: the page in light and dark, and on a phone.

    python hub/draw_space.py                # docs/demo.png, docs/demo-phone.png
    python hub/draw_space.py --all FOLDER   # every view, also those that the documentation does not show

It needs the extra `test` and a Chromium: that of the system, or that of `playwright install chromium`.
"""

from __future__ import annotations

import argparse
import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from fgvc_zoo.demo import build_demo, start_demo

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / 'hub' / 'space' / 'examples'
DESKTOP, PHONE = (1280, 800), (390, 844)  # CSS pixels
PATIENCE = 60_000  # milliseconds


def open_page(browser: Browser, url: str, size: tuple[int, int], scheme: str) -> Page:
    """The page after an example was chosen and answered."""
    page = browser.new_page(viewport=dict(width=size[0], height=size[1]), color_scheme=scheme, device_scale_factor=1)
    page.set_default_timeout(PATIENCE)
    page.goto(url)
    page.get_by_role('button', name='Royal Gala').click()
    page.locator('.answer h2').wait_for()
    page.mouse.move(0, 0)
    return page


def save(page: Page, path: Path) -> None:
    """The whole page, however high, as a PNG of 256 colours."""
    page.wait_for_timeout(700)  # transitions
    picture = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert('RGB')
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f'{path}: {picture.width} x {picture.height}, {path.stat().st_size / 1e3:.0f} kB')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--all', type=Path, metavar='FOLDER', help='write every view into this folder instead')
    options = parser.parse_args()
    url = start_demo(build_demo(examples=EXAMPLES), '127.0.0.1')
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which('chromium'), args=['--no-sandbox'])
        folder = options.all or ROOT / 'docs'
        save(open_page(browser, url, DESKTOP, 'light'), folder / 'demo.png')
        save(open_page(browser, url, PHONE, 'light'), folder / 'demo-phone.png')
        if options.all:
            dark = open_page(browser, url, DESKTOP, 'dark')
            save(dark, folder / 'dark.png')
            dark.get_by_role('button', name='Ask all five methods').click()
            dark.locator('.methods').wait_for()
            save(dark, folder / 'methods-dark.png')
            phone = open_page(browser, url, PHONE, 'dark')
            phone.get_by_role('button', name='Ask all five methods').click()
            phone.locator('.methods').wait_for()
            save(phone, folder / 'methods-phone.png')
            cat = open_page(browser, url, DESKTOP, 'light')
            cat.get_by_role('button', name='Cat').click()
            cat.locator('.unknown').wait_for()
            save(cat, folder / 'unknown.png')
        browser.close()


if __name__ == '__main__':
    main()
