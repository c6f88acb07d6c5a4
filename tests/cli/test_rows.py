"""Rows are read back whole by Python's own readers, and a file never holds half of one."""

import csv
import io
import json
import os
import resource
import signal
from pathlib import Path

import pytest

from fgvc_zoo import UserError
from fgvc_zoo.prediction import Prediction
from fgvc_zoo_cli._rows import Csv, JsonArray, JsonLines, Output, check_rows, record

ODD = ['a,b.jpg', 'quote".jpg', 'line\nbreak.jpg', "it's.jpg", 'é李.jpg', '  spaces .jpg', '\u2028.jpg', '=1+1.jpg']
NOT_UTF8 = os.fsdecode(b'x\xff.jpg')


def answers():
    for path in ODD:
        yield Prediction(Path(path), [path, 'other, "class"'], [0.75, 0.125])
    yield Prediction(Path('none.jpg'))  # no class is probable enough
    yield Prediction(Path('bad.jpg'), error="the image 'bad.jpg' is empty, or \"so\"")
    yield Prediction(Path(NOT_UTF8), ['kiwi'], [1.0])


def written(path, format):
    output = Output(path, format)
    output.open()
    for answer in answers():
        output.write(answer)
    output.close()
    return path.read_bytes().decode('utf-8')


def expected(answer):
    if answer.error is not None:
        return dict(path=str(answer.path), error=answer.error)
    return dict(path=str(answer.path), predictions=[
        dict(name=name, probability=value) for name, value in zip(answer.names, answer.probabilities, strict=True)])


def test_csv_is_read_back(tmp_path):
    rows = list(csv.DictReader(io.StringIO(written(tmp_path / 'a.csv', Csv(2)), newline='')))
    assert list(rows[0]) == ['path', 'name_1', 'probability_1', 'name_2', 'probability_2', 'unknown', 'error']
    for row, answer in zip(rows, answers(), strict=True):
        assert row['path'] == (str(answer.path) if answer.path.name != NOT_UTF8 else r'x\udcff.jpg')
        names = [row[f'name_{rank}'] for rank in (1, 2) if row[f'name_{rank}']]
        values = [float(row[f'probability_{rank}']) for rank in (1, 2) if row[f'probability_{rank}']]
        assert (names, values, row['error']) == (answer.names, answer.probabilities, answer.error or '')


def test_json_lines_are_read_back(tmp_path):
    text = written(tmp_path / 'a.jsonl', JsonLines())
    lines = text.split('\n')
    assert lines.pop() == ''
    assert [json.loads(line) for line in lines] == list(map(expected, answers()))


@pytest.mark.parametrize('count', [0, 1, 3])
def test_the_array_is_what_json_writes(tmp_path, count):
    output = Output(tmp_path / 'a.json', JsonArray())
    output.open()
    chosen = list(answers())[:count]
    for answer in chosen:
        output.write(answer)
    output.close()
    assert (tmp_path / 'a.json').read_text(encoding='utf-8') == json.dumps(list(map(expected, chosen)), indent=2, ensure_ascii=False) + '\n'


@pytest.mark.parametrize('format', [Csv(2), JsonLines(), JsonArray()])
def test_a_full_disk_leaves_whole_rows(tmp_path, format):
    """The limit on the length of a file stops a write in its middle, as a full disk does."""
    whole = written(tmp_path / 'whole', format)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    output = Output(tmp_path / 'a', format)
    output.open()
    limit = 2 * len(whole.encode()) // 3
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
    try:
        with pytest.raises(UserError, match='its rows are whole'):
            for answer in answers():
                output.write(answer)
        output.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    rest = (tmp_path / 'a').read_text(encoding='utf-8')
    assert 0 < len(rest.encode()) <= limit and rest.endswith('\n')
    if isinstance(format, JsonArray):
        found = json.loads(rest)
        assert found and found == json.loads(whole)[:len(found)]
    else:
        assert whole.startswith(rest)
    if isinstance(format, JsonLines):
        assert all(json.loads(line) for line in rest.splitlines())


def test_what_may_be_replaced(tmp_path):
    for format in (Csv(2), JsonLines()):
        path = tmp_path / format.kind
        written(path, format)
        check_rows(path, format)
        path.write_text('')
        check_rows(path, format)
        for content in (b'a,b\n', b'\xff\xd8\xff', b'[1, 2]\n', b'3\n', b'{"top1": 3}\n', b'"a path"\n',
                        b'{"path": "a.jpg", "label": "kiwi"}\n', b'{"path": "a.jpg", "predictions": [], "label": "kiwi"}\n'):
            path.write_bytes(content)
            with pytest.raises(UserError, match='is not overwritten'):
                Output(path, format)
            assert path.read_bytes() == content
    with pytest.raises(UserError, match='is a folder'):
        Output(tmp_path, Csv(2))
    check_rows(Path('/dev/null'), Csv(2))


def test_unknown_photographs_are_marked():
    answer = Prediction(Path('a.jpg'), ['x'], [0.25], unknown=True)
    assert record(answer)['unknown'] is True and 'unknown' not in record(Prediction(Path('a.jpg'), ['x'], [0.25]))
    assert Csv(1).row(answer, False) == 'a.jpg,x,0.250000,true,\n'
