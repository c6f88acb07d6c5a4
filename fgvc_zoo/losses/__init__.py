"""One loss a file."""

from fgvc_zoo.losses.center import center_loss, update_centers

__all__ = ['center_loss', 'update_centers']
