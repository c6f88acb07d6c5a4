"""One bar for the commands and for training."""

import io

from rich.console import Console

from fgvc_zoo._progress import progress_bar


def draw(**options):
    text = io.StringIO()
    with progress_bar(console=Console(file=text, force_terminal=True, width=120), **options) as bar:
        task = bar.add_task('measuring', total=3, details='loss 0.5')
        bar.advance(task, 3)
    return text.getvalue()


def test_details_are_the_last_column():
    assert 'measuring' in draw(show=True) and 'loss' not in draw(show=True)
    assert 'loss 0.5' in draw(show=True, details=True)


def test_nothing_is_drawn_where_nobody_looks():
    assert 'measuring' not in draw(show=False)
