"""The setting of the C library."""

import ctypes
import sys

from fgvc_zoo._memory import keep_freed_memory


class Library:
    def __init__(self):
        self.calls = []

    def mallopt(self, parameter, value):
        self.calls.append((parameter, value))


def test_glibc_is_told_to_keep_memory(monkeypatch):
    library = Library()
    monkeypatch.setattr(sys, 'platform', 'linux')
    monkeypatch.setattr(ctypes, 'CDLL', lambda name: library)
    keep_freed_memory()
    assert library.calls == [(-1, 2**31 - 1), (-4, 0)]  # M_TRIM_THRESHOLD and M_MMAP_MAX of malloc.h


def test_other_systems_are_left_alone(monkeypatch):
    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, 'CDLL', missing)
    monkeypatch.setattr(sys, 'platform', 'linux')
    keep_freed_memory()  # no glibc
    monkeypatch.setattr(ctypes, 'CDLL', lambda name: 1 / 0)
    monkeypatch.setattr(sys, 'platform', 'darwin')
    keep_freed_memory()
