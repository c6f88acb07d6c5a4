"""Rows, files and curves of a run."""

import csv

from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fgvc_zoo.training.history import History, _name


def rows(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_a_resumed_history_shows_every_epoch_once(tmp_path):
    first = History(tmp_path)
    for epoch in (1, 2, 3):
        first.add(dict(epoch=epoch, loss=1 / epoch, lr=0.1))
    # killed in epoch 3 and resumed behind epoch 2: the third row is written again, with a new column
    again = History(tmp_path, first.rows[:2])
    again.write_csv()
    assert [row['epoch'] for row in rows(tmp_path / 'history.csv')] == ['1', '2']
    again.add(dict(epoch=3, loss=0.25, lr=0.1, holdout_top1=50.0))
    found = rows(tmp_path / 'history.csv')
    assert [(row['epoch'], row['loss'], row['holdout_top1']) for row in found] == [
        ('1', '1.0', ''), ('2', '0.5', ''), ('3', '0.25', '50.0')]
    events = EventAccumulator(str(tmp_path / 'tensorboard')).Reload().Scalars('loss')
    assert [(event.step, round(event.value, 4)) for event in events] == [(1, 1.0), (2, 0.5), (3, 0.25)]


def test_curves_have_plain_names():
    names = dict(
        loss='sum', loss_raw='raw', train_top1='training', holdout_top1='holdout', holdout_raw_top1='holdout, raw',
        lr='rate of the backbone')
    assert {column: _name(column, 'holdout') for column in names} == names
    assert [_name(column, 'train_only') for column in ('train_top1', 'train_only_top1', 'train_only_raw_top1')] == [
        'training', 'train only', 'train only, raw']


def test_curves_are_a_picture(tmp_path):
    history = History(tmp_path)
    history.add(dict(epoch=1, loss=1.0, loss_raw=0.5, train_top1=10.0, lr=0.1))
    assert Image.open(tmp_path / 'curves.png').width > 1000
