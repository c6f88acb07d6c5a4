"""The examples in docstrings give what they say."""

import doctest
import importlib
import pkgutil

import pytest

import fgvc_zoo

MODULES = [info.name for info in pkgutil.walk_packages(fgvc_zoo.__path__, 'fgvc_zoo.') if not info.name.endswith('__main__')]
WITH_EXAMPLES = [name for name in MODULES if any(
    test.examples for test in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name)))]


@pytest.mark.parametrize('name', WITH_EXAMPLES)
def test_examples(name):
    found = doctest.testmod(importlib.import_module(name), report=True)
    assert found.attempted > 0 and found.failed == 0


def test_there_are_examples():
    assert len(WITH_EXAMPLES) >= 12
