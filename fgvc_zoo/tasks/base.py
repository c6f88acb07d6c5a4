"""What the training of every method shares. A method's task is a subclass of `MethodTask`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from timm.task import TrainingTask
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fgvc_zoo._errors import UserError, check_range
from fgvc_zoo.losses import WeightedCrossEntropy


class LossPart(NamedTuple):
    """A summand of a step's loss that is computed by a forward pass of its own.

    Attributes:
        loss: A scalar.
        components: Named components for the history, scalars.
        output: The logits (B, K) that training accuracy is computed from; one part of a step has them.
    """

    loss: Tensor
    components: dict[str, Tensor]
    output: Tensor | None = None


class MethodTask(TrainingTask):
    """A model, the losses that train it, and what only the training needs.

    A subclass sets `model_class` and implements `losses`, or `parts` where a step needs several forward passes. Layers, parameters and
    buffers that it creates beside the model are trained with it (parameters), saved with the training state, and not part of the
    published model. `diagnose(images, targets)`, if it has one, returns scalars by name that show on held-out images whether the method
    works as intended.

        class BilinearTask(MethodTask):
            model_class = BilinearCNN

            def losses(self, images, targets):
                logits = self.trainable_module(images)
                loss = self.criterion(logits, targets)
                return loss, logits, dict(ce=loss)

    `task(images (B, C, H, W), targets (B,))` returns `loss`, `output` (logits (B, K)) and the named components; all but the loss are
    detached.

    Args:
        model: The network.
        smoothing: Label smoothing of `criterion`, in [0, 1).

    Attributes:
        model_class: The class of model that the task trains.
        has_phases: Some steps train only a part of the parameters, so DistributedDataParallel needs `find_unused_parameters`.
        trainable_module: The network.
        criterion: Cross-entropy with label smoothing, and with the classes' weights if `weigh_classes` was called.

    Raises:
        UserError: The model is of another class or has no classes, or an option is out of range.
    """

    model_class: type[nn.Module] = nn.Module
    has_phases = False

    def __init__(self, model: nn.Module, smoothing: float = 0.0) -> None:
        if not isinstance(model, self.model_class) or not getattr(model, 'num_classes', 0):
            raise UserError(f'{type(self).__name__} trains models of class {self.model_class.__name__} with num_classes above 0, not '
                            f"{type(model).__name__} with num_classes={getattr(model, 'num_classes', 0)}")
        check_range('smoothing', smoothing, 0, 1, exclude=(1,))
        super().__init__(verbose=False)
        self.trainable_module: Any = model
        self.criterion = WeightedCrossEntropy(label_smoothing=smoothing)
        self._parallel: list[DistributedDataParallel] = []  # a list, so that it does not become a submodule

    def weigh_classes(self, weights: Tensor) -> None:
        """Let the classes count differently in every cross-entropy, by weights (K,) float32. They are not part of the task's state."""
        self.criterion.register_buffer('weight', weights.to(next(self.parameters()).device), persistent=False)

    @property
    def typical(self) -> bool:
        """Whether a step costs now what most steps do. A task with phases says when; estimates of time wait for it."""
        return True

    def become_typical(self) -> None:
        """Go to the phase that most steps are of, to estimate time and memory."""

    def losses(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """One training step's losses.

        Args:
            images: (B, C, H, W), normalised.
            targets: (B,), int64.

        Returns:
            The loss, a scalar; the logits (B, K) that training accuracy is computed from; named components for the history, scalars.
        """
        raise NotImplementedError

    def parts(self, images: Tensor, targets: Tensor) -> Iterator[LossPart]:
        """One training step's losses, pass by pass.

        The loss is the sum of the parts'. No part may need the graph of an earlier one: a trainer can call backward on each before it
        asks for the next, which frees the activations of that pass.

        Args:
            images: (B, C, H, W), normalised.
            targets: (B,), int64.
        """
        loss, output, components = self.losses(images, targets)
        yield LossPart(loss, components, output)

    def forward(self, input: Tensor, target: Tensor) -> dict[str, Tensor]:
        if self._parallel:
            return self._parallel[0](input, target)
        return self.step(input, target)

    def step(
            self, images: Tensor, targets: Tensor, backward: Callable[[Tensor], Any] | None = None) -> dict[str, Tensor]:
        """What `forward` returns, on this process's images alone.

        Args:
            images: (B, C, H, W), normalised.
            targets: (B,), int64.
            backward: Called with the loss of each part, before the next part is computed: a step of several passes then needs the
                memory of one. The returned loss is detached.
        """
        losses: list[Tensor] = []
        result: dict[str, Tensor] = {}
        for part in self.parts(images, targets):
            result.update({name: value.detach() for name, value in part.components.items()})
            if part.output is not None:
                result['output'] = part.output.detach()
            if backward is not None:
                backward(part.loss)
            losses.append(part.loss if backward is None else part.loss.detach())
            del part  # and with it the graph
        return dict(loss=torch.stack(losses).sum(), **result)

    def prepare_distributed(self, device_ids: list[int] | None = None, **ddp_kwargs: Any) -> MethodTask:
        """Average the gradients of the model and of the task's own parameters over processes, as timm's train.py asks for.

        A step calls the model several times and through several methods, so the step is wrapped in DistributedDataParallel instead of the
        model; `trainable_module` stays the model. A trainer that wraps the whole task, as Accelerate does, does not need this call.

        Args:
            device_ids: As for DistributedDataParallel.
            **ddp_kwargs: Further arguments of DistributedDataParallel.
        """
        ddp_kwargs.setdefault('find_unused_parameters', self.has_phases)
        self._parallel = [DistributedDataParallel(_Step(self), device_ids, **ddp_kwargs)]
        return self

    def no_sync(self) -> Any:
        """A context in which gradients are accumulated without averaging them over processes."""
        module: Any = self._parallel[0] if self._parallel else super()
        return module.no_sync()

    def get_task_state(self, module: Any = None, ema: bool = False) -> dict[str, Any]:
        """The state of everything beside the model: state dicts of modules, tensors, by attribute name."""
        state: dict[str, Any] = {name: child.state_dict() for name, child in self._own_modules().items()}
        return {**state, **{name: tensor.detach().clone() for name, tensor in self._own_tensors().items()}}

    def load_task_state(self, state: dict[str, Any] | None, strict: bool = True, module: Any = None, ema: bool = False) -> None:
        """Load what `get_task_state` returned; None changes nothing."""
        if state is None:
            return
        for name, child in self._own_modules().items():
            child.load_state_dict(state[name], strict=strict)
        with torch.no_grad():
            for name, tensor in self._own_tensors().items():
                tensor.copy_(state[name])

    def _own_modules(self) -> dict[str, nn.Module]:
        """Modules with a state, without the model and its copies, which timm names trainable_module..., eval_model..."""
        return {name: child for name, child in self.named_children()
                if not name.startswith(('trainable_module', 'eval_model')) and child.state_dict()}

    def _own_tensors(self) -> dict[str, Tensor]:
        return {**dict(self.named_parameters(recurse=False)), **dict(self.named_buffers(recurse=False))}


class _Step(nn.Module):
    """A task's step as the forward pass of a module with the task's parameters, for DistributedDataParallel."""

    def __init__(self, task: MethodTask) -> None:
        super().__init__()
        for name, child in task.named_children():
            self.add_module(name, child)
        for name, parameter in task.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        for name, buffer in task.named_buffers(recurse=False):
            self.register_buffer(name, buffer)
        self.step = task.step

    def forward(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        return self.step(images, targets)


@contextmanager
def fixed_statistics(model: nn.Module) -> Iterator[None]:
    """Within this context batch norms compute as they are set to, but do not move their running statistics."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
