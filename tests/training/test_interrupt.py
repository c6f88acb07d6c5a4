"""Ctrl-C and SIGTERM lose no step: the run is saved, and says how it goes on."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from fgvc_zoo.loading import load_model
from fgvc_zoo.recipes import load_recipe
from fgvc_zoo.training import TrainConfig, train, trainer
from fgvc_zoo.training.interrupt import StopSignals


@pytest.mark.parametrize(('number', 'status'), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_is_saved_and_goes_on(photos, tmp_path, monkeypatch, capsys, number, status):
    recipe = load_recipe('baseline').replace(epochs=2, batch_size=2, input_size=32)
    config = TrainConfig('test_resnet', f'folder:{photos}', str(tmp_path / 'whole'), recipe, pretrained_backbone=False, workers=0,
                         device='cpu', progress=False, command='fgvc-zoo train --lr 1')
    train(config)
    step = trainer.Run._step

    def step_and_stop(run, *args):
        values = step(run, *args)
        if args[-1] == 1:
            os.kill(os.getpid(), number)
        return values

    stopped = replace(config, output=str(tmp_path / 'stopped'))
    with monkeypatch.context() as patch:
        patch.setattr(trainer.Run, '_step', step_and_stop)
        with pytest.raises(SystemExit) as stop:
            train(stopped)
    assert stop.value.code == status
    assert 'stopped after step 2 of epoch 1' in (err := capsys.readouterr().err) and 'fgvc-zoo train --lr 1 --resume' in err
    assert load_model(stopped.output).num_classes == 3  # what was trained so far
    train(replace(stopped, resume=True))
    first, second = (load_file(Path(tmp_path, name, 'model.safetensors')) for name in ('whole', 'stopped'))
    assert all((first[key] == second[key]).all() for key in first)


def test_a_second_signal_acts_as_usual():
    # processes of a parallel test run ignore SIGINT
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with StopSignals() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.received == signal.SIGINT
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(1)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


GROUP = '''
import os, signal, sys, time
from fgvc_zoo.recipes import load_recipe
from fgvc_zoo.training import TrainConfig, train, trainer
step = trainer.Run._step
def step_and_stop(run, images, targets, number):
    if number == 1:
        print('ready', flush=True)
        for _ in range(600):
            if not run.stop.received:
                time.sleep(0.1)
        time.sleep(1)  # a worker that dies is noticed here
    return step(run, images, targets, number)
trainer.Run._step = step_and_stop
signal.signal(signal.SIGINT, signal.default_int_handler)  # processes of a parallel test run ignore it
recipe = load_recipe('baseline').replace(epochs=3, batch_size=2, input_size=32)
train(TrainConfig('test_resnet', sys.argv[1], sys.argv[2], recipe, pretrained_backbone=False, workers=2, device='cpu', progress=False))
'''


@pytest.mark.parametrize(('number', 'status'), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_the_whole_group_does_not_kill_the_processes_that_load_images(photos, tmp_path, number, status):
    process = subprocess.Popen(
        [sys.executable, '-c', GROUP, f'folder:{photos}', str(tmp_path / 'run')], start_new_session=True, text=True,
        env={**os.environ, 'PYTHONPATH': str(Path(__file__).parents[2]), 'OMP_NUM_THREADS': '1'},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        while 'ready' not in process.stdout.readline():
            assert process.poll() is None
        os.killpg(process.pid, number)  # not from within: PyTorch's workers end quietly when their parent asks them to
        error = process.communicate(timeout=100)[1]
    finally:
        process.kill()
    assert process.returncode == status, error
    assert 'stopped after step 2 of epoch 1' in error and 'Traceback' not in error
    assert load_model(str(tmp_path / 'run')).num_classes == 3
