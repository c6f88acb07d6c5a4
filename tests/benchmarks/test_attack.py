"""A small standing attack with damaged files; benchmarks/faults/attack.py runs a large one."""

import importlib.util
import random
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location('attack', Path(__file__).parents[2] / 'benchmarks' / 'faults' / 'attack.py')
attack = importlib.util.module_from_spec(spec)
spec.loader.exec_module(attack)


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize(('run', 'count'), [(attack.attack_images, 700), (attack.attack_models, 80), (attack.attack_runs, 1)])
def test_every_damage_is_answered_or_refused_in_a_sentence(run, count):
    record = attack.Record()
    run(record, count, seed=1)
    assert record.faults == []
    assert sum(row['injected'] for row in record.rows.values()) == count
    if run is not attack.attack_runs:
        assert {'answer', 'sentence'} <= {name for row in record.rows.values() for name in ('answer', 'sentence') if row[name]}


def test_faults_are_found():
    """The attack itself: a traceback, a sentence of two lines and a wrong answer count as faults."""
    record = attack.Record()

    def two_lines():
        raise attack.UserError('one\ntwo')

    record.run('kind', 'seed 0', lambda: 1 / 0)
    record.run('kind', 'seed 0', two_lines)
    record.run('kind', 'seed 0', lambda: 'fine')
    assert record.rows['kind']['other'] == len(record.faults) == 2
    assert record.rows['kind']['answer'] == 1 and 'ZeroDivisionError' in record.faults[0]


def test_damage_depends_on_the_seed_alone():
    content = bytes(range(256)) * 4
    for damage in attack.DAMAGES.values():
        first, second, other = (damage(bytearray(content), random.Random(seed)) for seed in (0, 0, 1))
        assert first == second != other


def test_table_of_the_docs_is_the_result_file():
    root = Path(__file__).parents[2]
    result = attack.json.loads((root / 'benchmarks/results/checks/attack.json').read_text(encoding='utf-8'))
    assert (root / 'docs/faults.md').read_text(encoding='utf-8') == attack.draw_table(result)
    assert all(row['other'] == 0 for row in result['faults'].values())
    assert sum(row['injected'] for kind, row in result['faults'].items() if kind.startswith('image')) >= 10_000
    assert sum(row['injected'] for kind, row in result['faults'].items() if kind.startswith(('weights', 'config'))) >= 2_000
    assert sum(row['answer'] for kind, row in result['faults'].items() if kind.startswith('training')) >= 16
