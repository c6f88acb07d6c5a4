"""Recipes: a method's hyper-parameters as data, and the reader of their files.

A recipe file is YAML with up to four keys:

    extends     the recipe that this file is laid over, such as `baseline`
    defaults    what is used
    small       laid over the defaults where there are fewer than `SMALL` training photographs
    paper       laid over the defaults by the name NAME-paper: the published protocol

Every method's file extends `baseline.yaml`, part by part, so that a comparison with the baseline differs only where the method does: its
small recipe is the baseline's small recipe, then its own defaults, then its own small part.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from fgvc_zoo._errors import UserError, first_line, nearest
from fgvc_zoo.models import METHODS, find_method
from fgvc_zoo.recipes.recipe import Recipe

FOLDER = Path(__file__).parent
SMALL = 2000  # training photographs; with fewer, a recipe's `small` part counts
PAPER = '-paper'  # the end of the name that asks for a recipe's `paper` part
_KEYS = ('extends', 'defaults', 'small', 'paper')


def _recipes() -> dict[str, Path]:
    """The recipes of this package and of registered methods, by name."""
    own = {path.stem: path for path in FOLDER.glob('*.yaml')}
    return {**own, **{method.name: method.recipe for method in METHODS.values() if method.recipe}}


def recipe_names() -> list[str]:
    """Names of the recipes of this package and of registered methods."""
    return sorted(_recipes())


def recipe_for(model: str) -> str:
    """Name of the recipe that belongs to a model: its method's, or 'baseline' for a model without a method.

    Raises:
        UserError: Its method has no recipe.
    """
    method = find_method(model)
    if method is None:
        return 'baseline'
    if method.name not in _recipes():
        raise UserError(f"the method '{method.name}' has no recipe; give --recipe")
    return method.name


def load_recipe(name: str, images: int | None = None) -> Recipe:
    """Read a recipe.

    Args:
        name: One of `recipe_names`, or the path of a YAML file; with '-paper' behind it for its `paper` part.
        images: Number of training photographs: with fewer than `SMALL`, the recipe's `small` part counts. None leaves it out, and so
            does a recipe's `paper` part.

    Raises:
        UserError: There is no such recipe, it is not valid YAML, or it has an unknown key.

    Example:
        >>> recipe = load_recipe('wsdan', images=360)
        >>> recipe.epochs, recipe.replace(lr=0.002).lr
        (16, 0.002)
    """
    path, part, bare = _find(name), '', name
    if path is None and name.endswith(PAPER):
        bare = name.removesuffix(PAPER)
        path, part = _find(bare), 'paper'
    if path is None:
        raise UserError(f"there is no recipe '{name}'{nearest(name, recipe_names())} (there are {', '.join(recipe_names())}, "
                        f"each also with {PAPER} behind it, or give the path of a .yaml file)")
    if part and not _read(path).get(part):
        raise UserError(f"the recipe '{bare}' has no `paper` part")
    if not part and images is not None and images < SMALL:
        part = 'small'
    method = bare if bare in _recipes() else path.stem
    # a file of the user's has the task of what it extends, unless it has the name of a method or says `task`
    task = method if method in {*_recipes(), *METHODS} else str(_read(path).get('extends', method))
    recipe = Recipe(name=method + PAPER if part == 'paper' else method, task=task)
    for layer in _layers(path, part):
        recipe = recipe.replace(**layer)
    return recipe


def _find(name: str) -> Path | None:
    """The file of a recipe that is called `name`, or has that path."""
    path = Path(name) if name.endswith(('.yaml', '.yml')) else _recipes().get(name)
    return path if path is not None and path.is_file() else None


def _layers(path: Path, part: str) -> list[dict[str, Any]]:
    """What one recipe file says, later entries over earlier ones: the layers of the file that it extends, its defaults, its `part`."""
    document = _read(path)
    layers = []
    if 'extends' in document:
        name = str(document['extends'])
        base = _recipes().get(name)
        if base is None or base == path:
            raise UserError(f"{path.name}: there is no recipe '{name}' to extend{nearest(name, recipe_names())}")
        # not its task: a method has its own
        layers = [{key: value for key, value in layer.items() if key != 'task'} for layer in _layers(base, part)]
    return [*layers, document.get('defaults') or {}, document.get(part) or {}]


def _read(path: Path) -> dict[str, Any]:
    """One recipe file."""
    try:
        document = yaml.safe_load(path.read_text(encoding='utf-8')) or {}
    except (yaml.YAMLError, UnicodeDecodeError, OSError, RecursionError) as error:
        raise UserError(f'{path} is not valid YAML: {first_line(error)}') from error
    if not isinstance(document, dict):
        raise UserError(f'{path} must be a mapping with the keys {", ".join(_KEYS)}')
    for key, value in document.items():
        if key == 'data':
            raise UserError(f"{path.name}: the key 'data' is gone, since a recipe depends on how many photographs there are: use 'small'")
        if key not in _KEYS:
            raise UserError(f"{path.name}: key '{key}' is not known{nearest(str(key), _KEYS)} (choose from {', '.join(_KEYS)})")
        if key != 'extends' and value is not None and not isinstance(value, dict):
            raise UserError(f"{path.name}: '{key}' must be a mapping of recipe keys, not {value!r}")
    return document


__all__ = ['Recipe', 'load_recipe', 'recipe_for', 'recipe_names']
