"""What a run is made of, and its state in the run folder: the checkpoint, the model, the record."""

from __future__ import annotations

import platform
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import timm
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from timm.utils import ModelEmaV3

from fgvc_zoo._device import choose_device
from fgvc_zoo._errors import UserError, first_line
from fgvc_zoo._files import cpu_state_dict, write_json, write_weights
from fgvc_zoo._processes import share
from fgvc_zoo.calibration import calibration_of, read_calibration
from fgvc_zoo.data import open_dataset
from fgvc_zoo.loading import TimmModel, eval_transform_for, is_trained
from fgvc_zoo.run_record import RUN_RECORD
from fgvc_zoo.saving import portable_args, save_config
from fgvc_zoo.tasks import create_task, find_task
from fgvc_zoo.training.batch_norm import share_statistics
from fgvc_zoo.training.checkpoint import load_checkpoint, save_checkpoint
from fgvc_zoo.training.config import TrainConfig
from fgvc_zoo.training.history import History
from fgvc_zoo.training.identity import check_identity, identity
from fgvc_zoo.training.interrupt import StopSignals
from fgvc_zoo.training.meters import Meters
from fgvc_zoo.training.models import build_model
from fgvc_zoo.training.setup import (
    augment,
    check_unseen,
    images_per_class,
    make_optimizer,
    schedule,
    train_loader,
    train_sampler,
    trained_backbone,
    weigh_classes,
)
from fgvc_zoo.version import __version__

BEST = 'best'  # the folder of the best epoch, in the run folder


class RunState:
    """What a run is made of, and what of it a checkpoint keeps.

    Args:
        config: The run's settings.
        folder: Its folder; `run_folder` holds it.

    Raises:
        UserError: The data or the model cannot be used, or the checkpoint to go on from is of another run.
    """

    def __init__(self, config: TrainConfig, folder: Path) -> None:
        self.folder = folder
        device = choose_device(config.device)
        cpu = device.type == 'cpu'
        if cpu and config.amp == 'fp16':
            raise UserError("fp16 needs a GPU: take --amp bf16, or none, on a CPU")
        if device.index is not None and device.type == 'cuda':
            torch.cuda.set_device(device)  # Accelerate takes the current one
        has_phases = getattr(find_task(config.recipe.task), 'has_phases', False)
        if has_phases and config.recipe.accumulate > 1:
            raise UserError(f"the task '{config.recipe.task}' counts its steps, so accumulate must be 1: take a smaller batch_size")
        # in some steps not every parameter gets a gradient
        partial_steps = has_phases or config.recipe.frozen_epochs > 0
        # Accelerate keeps one state for the process; an earlier run may have had another precision or device
        AcceleratorState._reset_state(reset_partial_state=share()[1] == 1)
        self.accelerator = Accelerator(
            cpu=cpu, mixed_precision=config.amp or 'no',
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=partial_steps)])
        if device.type == 'cuda':
            torch.backends.cudnn.benchmark = True  # every step has the same shapes
        torch.manual_seed(config.seed)

        self.dataset = open_dataset(config.data, config.train_split, seed=config.seed)
        self.class_names = self.dataset.class_names
        self.model = build_model(config.model, config.recipe, len(self.class_names), config.pretrained_backbone)
        cfg = self.model.pretrained_cfg
        recipe = config.recipe.replace(
            input_size=cfg['input_size'][-1], crop_pct=cfg['crop_pct'], crop_mode=cfg['crop_mode'],
            model_args=portable_args(self.model._model_args) if is_trained(config.model) else config.recipe.model_args)
        augment(self.dataset, recipe, cfg)
        self.recipe = recipe = recipe.replace(images_per_class=images_per_class(recipe, self.dataset.targets))
        self.config = config = replace(config, recipe=recipe)
        self.eval_dataset = (open_dataset(config.data, config.eval_split, transform=eval_transform_for(self.model))
                             if config.eval_split else None)
        if self.eval_dataset is not None and self.eval_dataset.class_names != self.class_names:
            raise UserError(f"the splits '{config.train_split}' and '{config.eval_split}' of '{self.dataset.root}' have other classes, so "
                            'the one cannot be measured with the other')
        side = cfg['input_size'][-1]
        # Random crops are cut from what is decoded, so it is larger than the input. It has one size whether it is kept in memory or not:
        # whether it fits may change until a run goes on.
        self.decoded_side = max(int(1.5 * side), int(side / cfg['crop_pct']))
        for dataset in filter(None, (self.dataset, self.eval_dataset)):
            dataset.decoded_side = self.decoded_side
        if self.eval_dataset is not None:
            check_unseen(self.dataset, self.eval_dataset, config.keep_best)

        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        # our sampler shards the images between processes and knows where to resume, so Accelerate leaves the loader alone
        self.sampler = train_sampler(self.dataset, recipe, config.seed, rank, world)
        self.loader = train_loader(
            self.dataset, self.sampler, recipe.batch_size, config.workers, pin=self.accelerator.device.type == 'cuda')
        self.images_per_step = recipe.batch_size * world
        self.steps_per_epoch = len(self.dataset) // self.images_per_step

        if world > 1:
            share_statistics(self.model, self.accelerator.device)
        self.model.to(self.accelerator.device).to(memory_format=torch.channels_last)
        task = create_task(recipe.task, self.model, smoothing=recipe.smoothing, **recipe.task_args)
        task.to(self.accelerator.device)
        if recipe.class_weights:
            weigh_classes(task, recipe, self.dataset)
        optimizer = make_optimizer(self.model, recipe, task)
        self.ema = ModelEmaV3(self.model, decay=recipe.ema_decay, use_warmup=True) if recipe.ema_decay else None
        self.scheduler = schedule(optimizer, recipe, self.steps_per_epoch)
        self.backbone = trained_backbone(self.model)
        self.task = task
        self.prepared, self.optimizer = self.accelerator.prepare(task, optimizer)

        self.epoch, self.step_in_epoch = 0, 0
        self.meters = Meters()
        self.history = History(folder)
        self.seconds = 0.0
        self.best = -1.0  # accuracy of the epoch that is kept as the best, in percent
        self.stop = StopSignals()
        self.identity = identity(config, self.dataset, world)
        if config.resume:
            self._load()

    def _save(self) -> None:
        """Write the resumable checkpoint, from the main process."""
        self.accelerator.wait_for_everyone()
        if not self.accelerator.is_main_process:
            return
        save_checkpoint(self.folder, dict(
            identity=self.identity, epoch=self.epoch, step_in_epoch=self.step_in_epoch, seconds=self.seconds,
            model=self.model.state_dict(), ema=self.ema.module.state_dict() if self.ema else None,
            optimizer=self.optimizer.state_dict(), task=self.task.get_task_state(),
            scaler=self.accelerator.scaler.state_dict() if self.accelerator.scaler else None,
            meters=asdict(self.meters), history=self.history.rows, class_vectors=self.sampler.class_vectors,
            calibration=asdict(calibration_of(self.model)), best=self.best))

    def _load(self) -> None:
        state = load_checkpoint(self.folder)
        check_identity(state['identity'], self.identity, self.folder, self.config.accept_changes)
        try:
            self._restore(state)
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"the checkpoint in '{self.folder}' does not fit this version of the model or the task ({first_line(error)}): "
                            'choose another folder to begin a run') from error
        if state['identity'].get('images', self.identity['images']) != self.identity['images']:  # the steps of the epoch are others
            self.step_in_epoch, self.meters = 0, Meters()
        if self.accelerator.is_main_process and self.history.rows:
            self.history.write_csv()

    def _restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state['model'])
        if self.ema:
            self.ema.module.load_state_dict(state['ema'])
        self.optimizer.load_state_dict(state['optimizer'])
        self.task.load_task_state(state['task'])
        if self.accelerator.scaler and state['scaler']:
            self.accelerator.scaler.load_state_dict(state['scaler'])
        self.epoch, self.step_in_epoch, self.seconds = state['epoch'], state['step_in_epoch'], state['seconds']
        self.sampler.class_vectors = state.get('class_vectors')  # older checkpoints have none
        self.meters = Meters(**state['meters'])
        self.model.calibration = read_calibration(state.get('calibration'))
        self.history = History(self.folder, state['history'])
        self.best = state.get('best', self.best)  # older checkpoints have none

    @property
    def final_model(self) -> TimmModel:
        """The weights that are kept: the averaged ones, or the last."""
        return self.ema.module if self.ema else self.model

    def _export(self, folder: Path) -> None:
        """config.json and model.safetensors, for timm and transformers."""
        folder.mkdir(exist_ok=True)
        write_weights(folder / 'model.safetensors', cpu_state_dict(self.final_model))
        save_config(self.model, folder / 'config.json', self.class_names)

    def _describe(self, folder: Path, **more: Any) -> None:
        """run.json: everything needed to repeat the run, and `more`."""
        config = {**asdict(self.config), 'recipe': self.recipe.to_dict()}
        record = dict(
            config=config, command=self.config.command, images=len(self.dataset), fingerprint=self.identity['data'],
            classes=len(self.class_names),
            versions=dict(fgvc_zoo=__version__, torch=torch.__version__, timm=timm.__version__, python=platform.python_version()),
            start_license=getattr(self.model, 'start_license', None),
            device=str(self.accelerator.device), processes=self.accelerator.num_processes, **more)
        write_json(folder / RUN_RECORD, record)
