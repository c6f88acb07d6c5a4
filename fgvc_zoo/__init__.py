"""fgvc-zoo: fine-grained image recognition for timm. Importing it registers its models, and those of other installed packages."""

from fgvc_zoo._errors import UserError
from fgvc_zoo.models import WSDAN, Explanation, FineGrainedModel
from fgvc_zoo.models.registry import load_methods
from fgvc_zoo.version import __version__

__all__ = ['WSDAN', 'Explanation', 'FineGrainedModel', 'UserError', '__version__']

load_methods()  # last: these packages import this one
