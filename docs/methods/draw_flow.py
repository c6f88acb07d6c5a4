"""Draw the data flow of each method in this folder, from a forward pass of its real modules: NAME_prediction.svg, NAME_training.svg.

    python docs/methods/draw_flow.py

Every box is a module of the model or of its training task, or a function of `fgvc_zoo.layers` or `fgvc_zoo.losses`, in the order in which
they run. An arrow says that a box is computed from another one's result. The numbers are shapes for a batch of B images.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import timm
import torch
from matplotlib import rcParams
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten

import fgvc_zoo  # noqa: F401  registers the models
from fgvc_zoo.tasks import create_task

FOLDER = Path(__file__).parent
METHODS = ('wsdan', 'wsban', 'apinet', 'osme', 'racnn')
BATCH, CLASSES = 8, 200
COLORS = dict(input='#ffffff', module='#d6e6f5', function='#ececec', loss='#fbe3cf')
LANES = ('#3b6ea5', '#b3541e', '#3f7d4e', '#7b4b94', '#8a6d1f', '#4a4a4a')
ROW, LEFT = 0.62, 0.15  # inches
NAMES = dict(criterion='cross-entropy')
HIDDEN = (nn.Identity, nn.Dropout, nn.Dropout2d)


@dataclass
class Box:
    """One step: its name, what it is, 'input', 'module', 'function' or 'loss', its output's shapes, and the boxes that it needs."""

    name: str
    kind: str
    shapes: list[tuple[int, ...]]
    parameters: int = 0
    sources: set[int] = field(default_factory=set)


class Flow(TorchFunctionMode):
    """Records boxes, and for every tensor the boxes that it was computed from."""

    def __init__(self) -> None:
        super().__init__()
        self.boxes: list[Box] = []
        self._of: dict[int, tuple[Tensor, set[int]]] = {}  # the tensor too, so that its id stays its own
        self._inside = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not self._inside:
            self._mark(result, self._sources((args, kwargs)))
        return result

    def input(self, name: str, tensor: Tensor) -> Tensor:
        self.boxes.append(Box(name, 'input', [tuple(tensor.shape)]))
        self._mark(tensor, {len(self.boxes) - 1})
        return tensor

    def step(self, name: str, kind: str, call: Callable[..., Any], parameters: int = 0) -> Callable[..., Any]:
        """The function, which adds a box whenever it is called from outside any other box."""
        @functools.wraps(call)
        def run(*args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return call(*args, **kwargs)
            sources = self._sources((args, kwargs))
            self._inside = True
            try:
                result = call(*args, **kwargs)
            finally:
                self._inside = False
            found = tensors(result)
            if found and not all(any(value is other for other in tensors((args, kwargs))) for value in found):
                self.boxes.append(Box(name, kind, [tuple(value.shape) for value in found], parameters, sources))
                self._mark(result, {len(self.boxes) - 1})
            return result
        return run

    def _sources(self, value: Any) -> set[int]:
        return set().union(*(self._of.get(id(tensor), (None, set()))[1] for tensor in tensors(value)))

    def _mark(self, value: Any, sources: set[int]) -> None:
        for tensor in tensors(value):
            self._of[id(tensor)] = (tensor, sources)


def tensors(value: Any) -> list[Tensor]:
    return [item for item in tree_flatten(value)[0] if isinstance(item, Tensor)]


@contextmanager
def watched(flow: Flow, root: nn.Module) -> Iterator[None]:
    """While it is open, modules and functions of the package add their boxes."""
    with ExitStack() as stack:
        model = getattr(root, 'trainable_module', root)
        for owner in {model, root}:
            for name, child in owner.named_children():
                parts = list(child.named_children()) if isinstance(child, nn.ModuleList) else [('', child)]
                for index, part in parts:
                    if part is not model and not isinstance(part, HIDDEN):
                        kind = 'loss' if owner is not model and not list(part.parameters()) else 'module'
                        count = sum(parameter.numel() for parameter in part.parameters())
                        title = f'{NAMES.get(name, name)} {index}'.strip()
                        stack.enter_context(patch.object(part, 'forward', flow.step(title, kind, part.forward, count)))
        for module in [module for name, module in sys.modules.items() if name.startswith(('fgvc_zoo.models.', 'fgvc_zoo.tasks.'))]:
            for name, value in list(vars(module).items()):
                home = getattr(value, '__module__', '') or ''
                if callable(value) and not isinstance(value, type) and home.startswith(('fgvc_zoo.layers.', 'fgvc_zoo.losses.')):
                    kind = 'loss' if home.startswith('fgvc_zoo.losses.') else 'function'
                    stack.enter_context(patch.object(module, name, flow.step(name.replace('_', ' '), kind, value)))
        yield


def record(root: nn.Module, size: int, training: bool) -> list[Box]:
    """The boxes of a forward pass over images of `size` pixels, the last one its result."""
    flow = Flow()
    images = flow.input('images', torch.rand(BATCH, 3, size, size))
    with flow:
        inputs = [images]
        if training:
            inputs.append(flow.input('classes', torch.arange(BATCH) // 2))
        with watched(flow, root), torch.set_grad_enabled(training):
            result = root.train(training)(*inputs)
        result = result['loss'] if training else result
        flow.step('loss' if training else 'logits', 'input', lambda value: value.clone())(result)
    return needed(flow.boxes)


def shape_text(shape: tuple[int, ...]) -> str:
    if not shape:
        return 'scalar'
    known = {BATCH: 'B', 2 * BATCH: '2B', 4 * BATCH: '4B'}
    return ' × '.join([known.get(shape[0], str(shape[0])), *map(str, shape[1:])])


def needed(boxes: list[Box]) -> list[Box]:
    """The boxes that the last one depends on, renumbered."""
    kept = {len(boxes) - 1}
    for index in reversed(range(len(boxes))):
        if index in kept:
            kept |= boxes[index].sources
    row = {index: place for place, index in enumerate(sorted(kept))}
    return [replace(boxes[index], sources={row[source] for source in boxes[index].sources}) for index in sorted(kept)]


def lanes(boxes: list[Box]) -> dict[int, tuple[int, list[int]]]:
    """For each box that later ones need besides its neighbour: a lane at the side that is free over its length, and their rows."""
    targets: dict[int, list[int]] = {}
    for row, box in enumerate(boxes):
        for source in box.sources:
            if source < row - 1:
                targets.setdefault(source, []).append(row)
    ends: list[int] = []  # of each lane
    found = {}
    for source, rows in sorted(targets.items()):
        lane = next((index for index, end in enumerate(ends) if end < source), len(ends))
        ends[lane:lane + 1] = [max(rows)]
        found[source] = lane, sorted(rows)
    return found


def draw(boxes: list[Box], path: Path) -> None:
    """The boxes from top to bottom, arrows between neighbours in the middle, the others beside them."""
    rcParams['svg.fonttype'], rcParams['svg.hashsalt'] = 'path', path.name
    beside = lanes(boxes)
    width = LEFT + 4.7 + 0.25 + 0.2 * max((lane + 1 for lane, _ in beside.values()), default=0)
    height = ROW * len(boxes)
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(-height, 0))
    axes.axis('off')
    middle = [-ROW * (row + 0.5) for row in range(len(boxes))]
    right = LEFT + 4.7
    arrow = dict(arrowstyle='-|>', shrinkA=0, shrinkB=0, linewidth=1.1)
    for row, box in enumerate(boxes):
        axes.add_patch(FancyBboxPatch((LEFT, middle[row] - 0.2), 4.7, 0.4, boxstyle='round,pad=0,rounding_size=0.06',
                                      facecolor=COLORS[box.kind], edgecolor='#777777', linewidth=0.8))
        axes.text(LEFT + 0.12, middle[row], f'{box.name}{weights_text(box.parameters)}', va='center', fontsize=9.5)
        shown = [shape_text(shape) for shape in dict.fromkeys(box.shapes)][:2]
        axes.text(right - 0.12, middle[row], ',  '.join(shown), va='center', ha='right', fontsize=8.5, color='#333333')
        if row - 1 in box.sources:
            axes.annotate('', (LEFT + 2.3, middle[row] + 0.2), (LEFT + 2.3, middle[row - 1] - 0.2), arrowprops=dict(arrow, color='#555555'))
    for source, (lane, rows) in beside.items():
        color, x = LANES[source % len(LANES)], right + 0.25 + 0.2 * lane
        begin = middle[source] - 0.08
        axes.plot([right, x, x], [begin, begin, middle[rows[-1]] + 0.08], color=color, linewidth=1.1)
        for row in rows:
            axes.annotate('', (right, middle[row] + 0.08), (x, middle[row] + 0.08), arrowprops=dict(arrow, color=color))
    figure.savefig(path, metadata=dict(Date=None))


def weights_text(count: int) -> str:
    if not count:
        return ''
    return f'   {count / 1e6:.2f} M weights' if count >= 5000 else f'   {count:,} weights'


def main() -> None:
    for method in METHODS:
        torch.manual_seed(0)
        model = timm.create_model(f'{method}_tf_efficientnet_lite0', num_classes=CLASSES)
        size = model.pretrained_cfg['input_size'][-1]
        draw(record(model, size, training=False), FOLDER / f'{method}_prediction.svg')
        task = create_task(method, model)
        if method == 'racnn':  # trains its parts in turns
            task.phase = 'ranking'
            draw(record(task, size, training=True), FOLDER / 'racnn_ranking.svg')
            task.phase = 'classification'
        draw(record(task, size, training=True), FOLDER / f'{method}_training.svg')


if __name__ == '__main__':
    main()
