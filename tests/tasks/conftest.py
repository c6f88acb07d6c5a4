"""Runs a piece of code in two processes that communicate, as data parallel training does."""

import subprocess
import sys

import pytest
import torch

PROGRAM = '''
import sys
import timm, torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
import fgvc_zoo
from fgvc_zoo.tasks import create_task

rank, folder = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
dist.init_process_group('gloo', init_method=f'file://{{folder}}/rendezvous', rank=rank, world_size=2)
torch.manual_seed(0)
{code}
torch.save(result, f'{{folder}}/{{rank}}.pt')
dist.destroy_process_group()
'''


@pytest.fixture
def two_processes(tmp_path):
    """Run code that reads `rank` and assigns `result`; returns both results."""
    def run(code):
        program = PROGRAM.format(code=code)
        processes = [
            subprocess.Popen([sys.executable, '-c', program, str(rank), str(tmp_path)], stderr=subprocess.PIPE, text=True)
            for rank in range(2)]
        try:
            errors = [process.communicate(timeout=280)[1] for process in processes]
        finally:
            for process in processes:
                process.kill()
        assert [process.returncode for process in processes] == [0, 0], errors
        return [torch.load(tmp_path / f'{rank}.pt', weights_only=True) for rank in range(2)]
    return run
