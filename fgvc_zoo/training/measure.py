"""Measuring a split while training, with the images shared among the processes."""

from __future__ import annotations

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import Subset

from fgvc_zoo._errors import sentence
from fgvc_zoo.data import ImageDataset, ImageError
from fgvc_zoo.evaluation import Answers, collect_answers
from fgvc_zoo.loading import TimmModel


def measure(model: TimmModel, dataset: ImageDataset, accelerator: Accelerator, batch_size: int, workers: int = 0) -> Answers:
    """`fgvc_zoo.evaluation.collect_answers`, on every process with a part of the images, each of which counts once.

    All processes get the weights and statistics of the main process first: batch norms' statistics differ between processes.

    Args:
        model: On the accelerator's device; its mode is kept.
        dataset: With the transform that the model expects.
        accelerator: Of the run. Every process must call this.
        batch_size: Images a step and process.
        workers: Processes that load images, where they are not in memory.

    Returns:
        All answers, on every process.

    Raises:
        ImageError: An image cannot be read; on every process.
    """
    rank, world, count = accelerator.process_index, accelerator.num_processes, len(dataset)
    if world > 1:
        _take_from_main(model)
    # equal parts, so that they can be gathered: the last ones begin again at the first image
    indices = [(rank + step * world) % count for step in range(-(-count // world))]
    training, failure, answers = model.training, '', None
    try:
        answers = collect_answers(
            model, Subset(dataset, indices), batch_size, 0 if dataset.in_memory else workers, accelerator.device)
    except ImageError as error:
        failure = sentence(error)
    finally:
        model.train(training)
    failed = accelerator.gather(torch.tensor([bool(failure)], device=accelerator.device))
    if answers is None or failed.any():
        raise ImageError(failure or 'an image of another process cannot be read')

    def join(part: Tensor) -> Tensor:
        parts: Tensor = accelerator.gather(part.to(accelerator.device))
        return parts.unflatten(0, (world, -1)).transpose(0, 1).flatten(0, 1)[:count].cpu()

    scores = {name: join(score) for name, score in answers.scores.items()}
    boxes = join(answers.boxes) if answers.boxes is not None else None
    return Answers(scores, join(answers.targets), boxes)


def _take_from_main(model: nn.Module) -> None:
    for tensor in model.state_dict().values():
        values = tensor.contiguous()
        dist.broadcast(values, 0)
        tensor.copy_(values)
