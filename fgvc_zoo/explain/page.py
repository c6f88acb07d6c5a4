"""All photographs in one HTML page that needs no other file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from fgvc_zoo._files import write_text
from fgvc_zoo._pages import render, source_of
from fgvc_zoo.explain.overlays import heat_colors
from fgvc_zoo.explain.sheet import Panel, Sheet

PAGE = 'explain.html'
_FOLDER = Path(__file__).parent
_MAP_SIDE = 160  # of one of many attention maps, in pixels


def write_page(path: Path, model: str, sheets: Iterable[Sheet]) -> None:
    """Write the page. On a narrow screen the pictures are below each other; its colours follow the reader's light or dark setting.

    Args:
        path: The file; an earlier one is replaced.
        model: The model's name.
        sheets: From `sheet_of`, one for each photograph, in order. Their pictures are not kept.

    Raises:
        UserError: The file cannot be written; one that was there before is kept.
    """
    sections = [_section(sheet) for sheet in sheets]
    write_text(path, render(_FOLDER, 'page.html.jinja', model=model, sheets=sections, gradient=_gradient()))


def panels_html(panels: list[Panel]) -> str:
    """Pictures with their legends as HTML, for a page with `panels_css`."""
    return render(_FOLDER, 'panels.html.jinja', panels=_with_sources(panels))


def panels_css() -> str:
    """The style of `panels_html`. It takes the colour of less important text from `--muted`."""
    return render(_FOLDER, 'panels.css.jinja', gradient=_gradient())


def _gradient() -> str:
    """The colours of the heat in CSS."""
    return ', '.join(f"rgb({' '.join(str(round(value)) for value in color)})" for color in heat_colors(np.linspace(0, 1, 7)))


def _with_sources(panels: list[Panel]) -> list[tuple[Panel, str]]:
    return [(panel, source_of(panel.picture)) for panel in panels]


def _section(sheet: Sheet) -> dict[str, Any]:
    """A sheet with its pictures as JPEG."""
    return dict(
        title=sheet.title, unknown=sheet.unknown, looks=sheet.looks,
        panels=_with_sources(sheet.panels),
        examples=[(example.name, source_of(example.picture) if example.picture else None) for example in sheet.examples],
        maps=[(name, source_of(picture.resize((_MAP_SIDE, _MAP_SIDE)))) for name, picture in sheet.maps])
