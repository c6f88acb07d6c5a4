"""Write docs/licences.md: the licence of every library that the package and its extras name, as its own metadata state it.

    pip install -e ".[dev,demo]" && python hub/list_licences.py
"""

from __future__ import annotations

import configparser
import re
from importlib.metadata import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEAD = '''# Licences of the libraries

fgvc-zoo itself is Apache-2.0. It names these libraries as dependencies and contains none of them. `hub/list_licences.py` writes this table
from the metadata of the installed libraries. The licences of the fonts are in `fgvc_zoo/fonts/LICENSES.txt`, those of data sets and weights
on the model cards.

| library | needed for | licence |
|---|---|---|
'''


def requirements() -> dict[str, list[str]]:
    """The extras that name each library; 'the package' for those that it always needs."""
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(ROOT / 'setup.cfg', encoding='utf-8')
    groups = {'the package': setup['options']['install_requires'], **setup['options.extras_require']}
    found: dict[str, list[str]] = {}
    for group, text in groups.items():
        for line in text.split():
            if name := re.match(r'[A-Za-z][\w.-]*', line):
                found.setdefault(name[0], []).append(group)
    return found


def licence(name: str) -> str:
    """A library's licence: its SPDX expression, or else its classifiers, or else the first line of what it says."""
    facts = metadata(name)
    if expression := facts.get('License-Expression'):
        return expression
    classifiers = [line.rpartition(' :: ')[2] for line in facts.get_all('Classifier') or [] if line.startswith('License :: OSI')]
    return ', '.join(classifiers) or (facts.get('License') or 'not stated').splitlines()[0]


def main() -> None:
    found = sorted(requirements().items(), key=lambda item: item[0].lower())
    rows = [f"| {name} | {', '.join(groups)} | {licence(name)} |" for name, groups in found]
    (ROOT / 'docs' / 'licences.md').write_text(HEAD + '\n'.join(rows) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
