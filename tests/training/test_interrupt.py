"""Ctrl-C and SIGTERM lose no step: the run is saved, and says how it goes on."""

import os
import signal
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
    step = trainer._Run._step

    def step_and_stop(run, *args):
        values = step(run, *args)
        if args[-1] == 1:
            os.kill(os.getpid(), number)
        return values

    stopped = replace(config, output=str(tmp_path / 'stopped'))
    with monkeypatch.context() as patch:
        patch.setattr(trainer._Run, '_step', step_and_stop)
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
