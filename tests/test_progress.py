"""One bar for the commands and for training."""

import io
import re

import pytest
from rich.console import Console
from rich.progress import ProgressSample, Task, TaskID

from fgvc_zoo._progress import ProgressLog, RateColumn, progress_bar, time_left


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


def test_log_writes_a_line_every_so_often(capsys):
    now = [0.0]
    log = ProgressLog(True, seconds=30, clock=lambda: now[0])
    for second in range(0, 100, 10):
        now[0] = second
        log.update(lambda: f'at {now[0]:.0f}')
    assert capsys.readouterr().out == 'at 30\nat 60\nat 90\n'
    silent = ProgressLog(False, seconds=0, clock=lambda: now[0])
    silent.update(lambda: 'never')
    assert capsys.readouterr().out == ''


@pytest.mark.parametrize(('seconds', 'text'), [(0, '0 s'), (45.4, '45 s'), (61, '1 min'), (3700, '1 h 02 min'), (90000, '25 h 00 min')])
def test_time_left(seconds, text):
    assert time_left(seconds) == text


def test_the_rate_is_steps_over_time():
    task = Task(TaskID(0), 'predicting', total=100, completed=0, _get_time=lambda: 0.0)
    column = RateColumn('images')
    assert column.render(task).plain == ''
    task.start_time = 0.0
    task._progress.extend([ProgressSample(0, 1), ProgressSample(2, 21), ProgressSample(4, 21)])  # the first sample only begins
    assert column.render(task).plain == f'{42 / 4:.1f} images/s'
    assert not any(isinstance(column, RateColumn) for column in progress_bar(True).columns)
    assert isinstance(progress_bar(True, unit='images').columns[-1], RateColumn)


def test_log_goes_where_it_is_told():
    text = io.StringIO()
    ProgressLog(True, seconds=-1, file=text).update(lambda: 'here')
    assert text.getvalue() == 'here\n'


def test_the_line_of_a_training_fits_80_columns():
    text = io.StringIO()
    console = Console(file=text, width=80, force_terminal=True, color_system=None)
    with progress_bar(True, console, details=True) as bar:
        bar.add_task('epoch 30/30', total=12345, completed=12000, details='loss 12.345 1234 images/s')
    line = [part for part in re.split(r'[\r\n]', re.sub(r'\x1b\[[\d?;]*[A-Za-z]', '', text.getvalue())) if part.strip()][-1]
    assert 'epoch 30/30' in line and '12000/12345' in line and 'loss 12.345 1234 images/s' in line and '━' * 8 in line
    assert len(line) <= 80
