"""Write down the history of some runs: what differs in their recipes, and the losses and accuracies of every epoch.

    python benchmarks/accuracy/histories.py runs/a runs/b --json FILE
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

from fgvc_zoo._files import without_folders, write_json

_LEFT_OUT = ('seconds', 'images_per_second')  # of the machine


def history(run: Path) -> dict[str, Any]:
    """The command, the recipe and the rows of a run."""
    facts = json.loads((run / 'run.json').read_text(encoding='utf-8'))
    with open(run / 'history.csv', newline='', encoding='utf-8') as file:
        rows = [{key: float(value) for key, value in row.items() if value and key not in _LEFT_OUT} for row in csv.DictReader(file)]
    return dict(command=without_folders(facts['command']), recipe=facts['config']['recipe'], history=rows)


def differences(recipes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries of recipes that are not the same in all."""
    keys = sorted({key for recipe in recipes for key in recipe})
    unequal = [key for key in keys if any(recipe.get(key) != recipes[0].get(key) for recipe in recipes)]
    return [{key: recipe[key] for key in unequal if key in recipe} for recipe in recipes]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('runs', type=Path, nargs='+', help='run folders')
    parser.add_argument('--json', type=Path, required=True)
    options = parser.parse_args()
    found = [history(run) for run in options.runs]
    unequal = differences([item.pop('recipe') for item in found])
    write_json(options.json, dict(runs=[dict(recipe=recipe, **item) for recipe, item in zip(unequal, found, strict=True)]))


if __name__ == '__main__':
    main()
