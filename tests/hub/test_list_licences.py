"""The table of the libraries' licences."""

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location('list_licences', ROOT / 'hub' / 'list_licences.py')
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)


def test_every_library_is_in_the_table():
    table = (ROOT / 'docs' / 'licences.md').read_text(encoding='utf-8')
    listed = dict(re.findall(r'^\| ([\w.-]+) \| ([\w ,]+) \| [^|]+ \|$', table, re.MULTILINE))
    listed.pop('library')
    assert listed == {name: ', '.join(groups) for name, groups in script.requirements().items()}, 'run hub/list_licences.py'


def test_a_licence_is_that_of_the_metadata(monkeypatch):
    class Facts(dict):
        def get_all(self, key):
            return self.get(key)

    for facts, expected in (
            ({'License-Expression': 'MIT', 'License': 'x'}, 'MIT'),
            ({'Classifier': ['License :: OSI Approved :: BSD License', 'Topic :: x'], 'License': 'x'}, 'BSD License'),
            ({'License': 'Apache 2.0\nall of its text'}, 'Apache 2.0'), ({}, 'not stated')):
        monkeypatch.setattr(script, 'metadata', lambda name, facts=facts: Facts(facts))
        assert script.licence('x') == expected
