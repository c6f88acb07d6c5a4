"""torch.hub's list of models: every name that this package registers with timm.

    torch.hub.load(REPOSITORY, 'wsdan_tf_efficientnet_lite0', pretrained=True)
"""

import timm

from fgvc_zoo.models import METHODS

dependencies = ['torch', 'torchvision', 'timm', 'huggingface_hub', 'safetensors', 'yaml']

globals().update({name: timm.model_entrypoint(name) for method in METHODS for name in timm.list_models(module=method)})
