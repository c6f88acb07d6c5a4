"""Change the code a little, many times, and count how often the tests notice: mutation testing with cosmic-ray.

    pip install cosmic-ray && python benchmarks/mutation/run.py --sample 500 --json FILE

It works in a copy of the newest commit. Each mutant is one change of one operator, comparison, number or condition in `losses/`, `layers/`,
`tasks/` or the samplers; only the tests of the changed file and the examples in it run. Of the operators that could take a place, one or
two are tried (a `*` that becomes `<<` is found by the first test). Type annotations are left out. Mutants that no test finds are listed
with their line.
"""

from __future__ import annotations

import argparse
import os
import random
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parents[2]
MODULES = ['fgvc_zoo/losses', 'fgvc_zoo/layers', 'fgvc_zoo/tasks', 'fgvc_zoo/data/samplers.py']
OPERATORS = {
    'core/NumberReplacer', 'core/AddNot', 'core/ReplaceTrueWithFalse', 'core/ReplaceFalseWithTrue', 'core/ReplaceAndWithOr',
    'core/ReplaceOrWithAnd', 'core/ZeroIterationForLoop', 'core/ReplaceBreakWithContinue', 'core/ReplaceContinueWithBreak',
    'core/RemoveDecorator', 'core/ReplaceUnaryOperator_USub_UAdd', 'core/ReplaceUnaryOperator_Delete_Not',
    *(f'core/ReplaceBinaryOperator_{pair}' for pair in (
        'Mul_Div', 'Mul_Add', 'Add_Sub', 'Add_Mul', 'Sub_Add', 'Div_Mul', 'FloorDiv_Mul', 'Mod_Mul', 'Pow_Mul', 'BitAnd_BitOr')),
    *(f'core/ReplaceComparisonOperator_{pair}' for pair in (
        'Lt_LtE', 'LtE_Lt', 'Gt_GtE', 'GtE_Gt', 'Lt_GtE', 'Gt_LtE', 'Eq_NotEq', 'NotEq_Eq', 'Is_IsNot', 'IsNot_Is'))}
CONFIG = '''[cosmic-ray]
module-path = {modules!r}
timeout = 300.0
excluded-modules = []
test-command = "{python} {script} --test-changed"
[cosmic-ray.distributor]
name = "local"
'''


def tests_of(path: str) -> list[str]:
    """The tests of a file of the package: those of its name and what holds for its whole folder, or else all of its folder."""
    file = Path(path)
    folder = ROOT.joinpath('tests', *file.parts[1:-1])
    own = sorted(str(found) for found in folder.glob(f'test_{file.stem}*.py'))
    shared = [str(found) for found in folder.glob('test_base.py')]
    return [*own, *(test for test in shared if test not in own)] if own else [str(folder)]


def test_changed() -> int:
    """Run the tests of the file that is changed in this tree; 0 if they pass."""
    changed = subprocess.run(['git', 'diff', '--name-only'], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    files = [path for path in changed if path.endswith('.py')]
    tests = [test for path in files for test in tests_of(path)]
    command = [sys.executable, '-m', 'pytest', '-x', '-q', '-p', 'no:cacheprovider', '--doctest-modules', *files, *tests]
    return subprocess.run(command, cwd=ROOT, env=dict(os.environ, PYTHONPATH=str(ROOT)), check=False).returncode


def choose(database: Path, count: int, seed: int) -> None:
    """Keep a random sample of the mutants of `OPERATORS` in a session."""
    with sqlite3.connect(database) as content:
        rows = content.execute('select job_id, operator_name from mutation_specs order by module_path, start_pos_row, start_pos_col, '
                               'operator_name, occurrence').fetchall()
        fitting = [job for job, operator in rows if operator in OPERATORS]
        kept = set(random.Random(seed).sample(fitting, min(count, len(fitting))))
        for table in ('mutation_specs', 'work_items'):
            content.executemany(f'delete from {table} where job_id = ?', [(job,) for job, _ in rows if job not in kept])
    print(f'{len(kept)} of {len(fitting)} mutants')


def summary(database: Path) -> dict[str, Any]:
    """How many mutants were found, by file, and those that were not."""
    with sqlite3.connect(database) as content:
        rows = content.execute(
            'select module_path, operator_name, start_pos_row, test_outcome, diff from mutation_specs join work_results using (job_id) '
            'order by module_path, start_pos_row').fetchall()
    total: Counter[str] = Counter()
    found: Counter[str] = Counter()
    survivors = []
    for path, operator, line, outcome, diff in rows:
        total[path] += 1
        if str(outcome).lower().endswith('survived'):
            survivors.append(dict(file=path, line=line, operator=operator, change=_change(diff)))
        else:
            found[path] += 1
    return dict(mutants=sum(total.values()), found=sum(found.values()),
                files={path: dict(mutants=total[path], found=found[path]) for path in sorted(total)}, survivors=survivors)


def _change(diff: str) -> list[str]:
    """The changed lines of a diff."""
    return [line for line in diff.splitlines() if line[:1] in '+-' and line[:3] not in ('+++', '---')]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--sample', type=int, default=500, help='mutants that are tried')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--json', type=Path, help='write the figures to this file')
    parser.add_argument('--session', type=Path, help='keep the session in this file, and go on with it if it exists')
    parser.add_argument('--test-changed', action='store_true', help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.test_changed:
        raise SystemExit(test_changed())
    with TemporaryDirectory() as folder:
        tree, session = Path(folder) / 'tree', (options.session or Path(folder) / 'session.sqlite').absolute()
        subprocess.run(['git', 'clone', '-q', str(ROOT), str(tree)], check=True)
        config = tree / 'cosmic-ray.toml'
        config.write_text(CONFIG.format(modules=MODULES, python=sys.executable, script=tree / Path(__file__).relative_to(ROOT)))
        if not session.exists():
            subprocess.run(['cosmic-ray', 'init', config.name, str(session)], cwd=tree, check=True)
            choose(session, options.sample, options.seed)
        subprocess.run(['cosmic-ray', 'exec', config.name, str(session)], cwd=tree, check=True)
    from fgvc_zoo._files import write_json  # not at the top, where each mutant's process would import torch for it

    figures = dict(sample=options.sample, seed=options.seed, **summary(session))
    print(figures)
    if options.json:
        write_json(options.json, figures)


if __name__ == '__main__':
    main()
