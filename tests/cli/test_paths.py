"""Paths are read as they come, whatever is in them."""

import os
import threading

import pytest

from fgvc_zoo_cli._paths import read_paths


def through_a_pipe(parts, **options):
    """What is read of these parts, each written after what came before it was read."""
    reading, writing = os.pipe()

    def write():
        for part in parts:
            os.write(writing, part)
        os.close(writing)
    thread = threading.Thread(target=write)
    thread.start()
    try:
        return list(read_paths(reading, **options))
    finally:
        thread.join()
        os.close(reading)


@pytest.mark.parametrize(('parts', 'null', 'paths'), [
    ([b'a.jpg\nb c.jpg\n'], False, ['a.jpg', 'b c.jpg']),
    ([b'a.jpg\nb', b'.jpg'], False, ['a.jpg', 'b.jpg']),  # in pieces, and without a last line break
    ([b'a.jpg\r\n\r\n\n b\r\n'], False, ['a.jpg', ' b']),
    ([b'a\nb.jpg\0c\r\0\0'], True, ['a\nb.jpg', 'c\r']),
    ([b'x\xff.jpg\n'], False, [os.fsdecode(b'x\xff.jpg')]),
    ([b'\xc3', b'\xa9.jpg\n'], False, ['é.jpg']),  # a letter in two pieces
    ([], False, []),
])
def test_paths(parts, null, paths):
    assert through_a_pipe(parts, null=null) == paths


def test_a_path_comes_before_the_next_is_written():
    reading, writing = os.pipe()
    paths = read_paths(reading)
    for name in ('a', 'b'):
        os.write(writing, name.encode() + b'\n')
        assert next(paths) == name
    os.close(writing)
    assert list(paths) == []
    os.close(reading)
