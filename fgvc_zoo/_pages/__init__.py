"""HTML pages that need no other file: their templates, style and pictures."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from fgvc_zoo._errors import UserError, plain

_GENERATOR = '<meta name="generator" content="fgvc-zoo">'
_QUALITY = 80


def render(folder: Path, template: str, **values: Any) -> str:
    """Render a template. Every text is escaped, as `plain` and as HTML: names of classes and files come from outside.

    Args:
        folder: Where the template is; it can also include the files beside this one.
        template: Its name.
        values: What it shows.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, Path(__file__).parent]), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
        finalize=lambda value: plain(value) if type(value) is str else value)  # what a macro renders is of a class of its own
    return environment.get_template(template).render(generator=_GENERATOR, **values)


def check_page(path: Path, mark: str = _GENERATOR) -> None:
    """Check that a file can be written, before the work begins.

    Args:
        path: The file.
        mark: What its beginning contains if it is from an earlier call.

    Raises:
        UserError: It exists and has another origin.
    """
    if path.exists() and not (path.is_file() and mark in path.read_text(encoding='utf-8', errors='replace')[:2000]):
        raise UserError(f"'{path}' exists and was not written by fgvc-zoo, so it is not overwritten: choose another folder")


def source_of(picture: Image.Image) -> str:
    """An RGB picture as 'data:image/jpeg;base64,...', without metadata."""
    file = io.BytesIO()
    picture.save(file, 'JPEG', quality=_QUALITY, optimize=True)
    return f'data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}'
