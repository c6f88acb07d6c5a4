"""One loss a file."""

from fgvc_zoo.losses.center import center_loss, update_centers
from fgvc_zoo.losses.distillation import distillation_loss
from fgvc_zoo.losses.mamc import attention_sets, mamc_loss

__all__ = ['attention_sets', 'center_loss', 'distillation_loss', 'mamc_loss', 'update_centers']
