"""README's tables are what the result files and the manifest say."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_tables_are_drawn_from_the_files():
    result = subprocess.run(
        [sys.executable, 'benchmarks/accuracy/tables.py', '--check'], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
