"""See what a model attended to: one layout for every method, as a picture and as an HTML page."""

from fgvc_zoo.explain.drawing import THEMES, draw_prediction, write_new
from fgvc_zoo.explain.examples import Example, Examples
from fgvc_zoo.explain.page import PAGE, panels_css, panels_html, write_page
from fgvc_zoo.explain.sheet import Sheet, sheet_of

__all__ = [
    'PAGE', 'THEMES', 'Example', 'Examples', 'Sheet', 'draw_prediction', 'panels_css', 'panels_html', 'sheet_of', 'write_new', 'write_page',
]
