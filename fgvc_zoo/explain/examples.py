"""Photographs of the classes that a model answers with, from a data set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from fgvc_zoo._errors import UserError
from fgvc_zoo.data import ImageDataset, ImageError, match_classes
from fgvc_zoo.loading import TimmModel, class_names, eval_transform_for
from fgvc_zoo.prediction import Prediction

_CANDIDATES = 32  # photographs of a class among which the most similar one is looked for
_SIDE = 320  # of an example, in pixels


@dataclass(frozen=True)
class Example:
    """A photograph of a class.

    Attributes:
        name: The class.
        picture: RGB, square; None if the data set has no photograph of the class.
        view: The model's input (1, 3, S, S), where `contrast` is set.
        contrast: What tells the two most probable classes apart in this photograph (1, 2, h, w), for the second of them and a model that
            has `contrast`; None otherwise.
    """

    name: str
    picture: Image.Image | None
    view: Tensor | None = None
    contrast: Tensor | None = None


class Examples:
    """Finds photographs of classes.

    Args:
        model: From `load_model`.
        dataset: Photographs of the model's classes or of some of them, without a transform.

    Raises:
        UserError: The data set has none of the model's classes.
    """

    def __init__(self, model: TimmModel, dataset: ImageDataset) -> None:
        self.model, self.dataset = model, dataset
        self.names = class_names(model)
        self.transform = eval_transform_for(model)
        found = match_classes(dataset.class_names, self.names)
        self._places: dict[str, list[int]] = {}
        for index, target in enumerate(dataset.targets):
            known = found[target]
            if known is not None:
                self._places.setdefault(self.names[known], []).append(index)
        if not self._places:
            raise UserError(f"'{dataset.root}' has photographs of none of the model's classes, such as '{self.names[0]}'")

    def of(self, prediction: Prediction) -> list[Example]:
        """An example of each of the most probable classes, another file than the photograph itself.

        It is the first one of the data set that can be read. Of the second class, a model with `contrast` gets the most similar of up to
        32 photographs.
        """
        examples = [self._first(name, prediction) for name in prediction.names]
        if len(examples) > 1 and prediction.view is not None and hasattr(self.model, 'contrast'):
            examples[1] = self._most_similar(prediction, prediction.view)
        return examples

    def _others(self, name: str, prediction: Prediction) -> Iterator[Image.Image]:
        """Photographs of a class, other files than the photograph itself; those that cannot be read are passed over."""
        own = prediction.path.resolve()
        for index in self._places.get(name, []):
            if self.dataset.paths[index].resolve() != own:
                with suppress(ImageError):
                    yield self.dataset.load(index)

    def _first(self, name: str, prediction: Prediction) -> Example:
        picture = next(self._others(name, prediction), None)
        return Example(name, _square(picture) if picture else None)

    @torch.inference_mode()
    def _most_similar(self, prediction: Prediction, view: Tensor) -> Example:
        """The photograph of the second class whose embedding has the smallest angle to that of the photograph."""
        first, second = prediction.names[:2]
        pictures = list(islice(self._others(second, prediction), _CANDIDATES))
        if not pictures:
            return Example(second, None)
        views = torch.stack([self.transform(picture) for picture in pictures]).to(view.device)
        embedded = torch.cat([self._embedded(part) for part in views.split(8)])
        nearest = int(F.cosine_similarity(embedded, self._embedded(view)).argmax())
        classes = [torch.tensor([self.names.index(name)], device=view.device) for name in (first, second)]
        contrast = self.model.contrast(views[nearest, None], *classes)
        return Example(second, _square(pictures[nearest]), views[nearest, None], contrast)

    def _embedded(self, views: Tensor) -> Tensor:
        return self.model.forward_head(self.model.forward_features(views), pre_logits=True)


def _square(picture: Image.Image) -> Image.Image:
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.crop((left, top, left + side, top + side)).resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
