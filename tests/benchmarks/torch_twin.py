# SPDX-License-Identifier: Apache-2.0
"""PyTorch's side of benchmarks, started by them in its own environment (torch_venv.py).

Each line of the standard input is a JSON object. Its `what` is the name of a function here, and its other items are the
arguments. The answer is a line with the number that the function returns. Loaders, their processes and networks are
kept for the next question with equal settings.
"""

import functools
import json
import sys
import time

import cv2
import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

cv2.setNumThreads(0)  # the loader's processes run in parallel already


def read_pillow(path: str, size: int) -> np.ndarray:
    image = Image.open(path).convert('RGB')
    return np.asarray(image if image.size == (size, size) else image.resize((size, size), Image.BILINEAR))


def read_opencv(path: str, size: int) -> np.ndarray:
    image = cv2.imread(path, cv2.IMREAD_COLOR)
    if image.shape[:2] != (size, size):
        image = cv2.resize(image, (size, size))
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


READERS = {'pillow': read_pillow, 'opencv': read_opencv}


class Images(Dataset):
    """Images as uint8 [3, H, W]. A loader's process would have to send four times as many bytes for floats."""

    def __init__(self, paths: tuple[str, ...], size: int, reader: str):
        self.paths, self.size, self.read = paths, size, READERS[reader]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(self.read(self.paths[index], self.size).copy()).permute(2, 0, 1)


class Windows(Dataset):
    """Windows padded with their last frame, as the dissertation pads: uint8 [T, 3, H, W] and a label."""

    def __init__(self, windows: tuple[tuple[str, ...], ...], labels: tuple[int, ...], seq_len: int, size: int):
        self.windows, self.labels, self.seq_len, self.size = windows, labels, seq_len, size

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        frames = np.stack([read_opencv(path, self.size) for path in self.windows[index]])
        padded = frames[np.minimum(np.arange(self.seq_len), len(frames) - 1)]
        return torch.from_numpy(padded).permute(0, 3, 1, 2), self.labels[index]


@functools.cache
def _loader(paths: tuple[str, ...], size: int, reader: str, batch: int, workers: int) -> DataLoader:
    data = Images(paths, size, reader)
    return DataLoader(data, batch, shuffle=True, num_workers=workers, persistent_workers=workers > 0)


def decode(list_file: str, size: int, reader: str, batch: int, workers: int) -> float:
    """Returns the images/s of an epoch: decoded, resized, batched, and scaled to float32 in [-1, 1]."""
    with open(list_file) as file:
        paths = tuple(file.read().splitlines())
    loader = _loader(paths, size, reader, batch, workers)
    began = time.perf_counter()
    for images in loader:
        images.float().div_(127.5).sub_(1.0)
    return len(paths) / (time.perf_counter() - began)


class VGGFace(nn.Module):
    """VGG-Face as fer.nets.vgg_face builds it."""

    def __init__(self, size: int, width: float):
        super().__init__()
        layers, depth = [], 3
        for convolutions, channels in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
            for _ in range(convolutions):
                channels_here = max(1, round(channels * width))
                layers += [nn.Conv2d(depth, channels_here, 3, padding=1), nn.ReLU(inplace=True)]
                depth = channels_here
            layers.append(nn.MaxPool2d(2, 2))
        units = max(1, round(4096 * width))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(depth * (size // 32) ** 2, units),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(units, units),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(units, 7),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(images).flatten(1))


class ResNet50(nn.Module):
    """ResNet-50 as fer.nets.resnet builds it, with averaged features. As in slim, the last unit of a block strides."""

    def __init__(self, size: int, width: float):
        super().__init__()
        depth = max(1, round(64 * width))
        layers = [*_convolution(3, depth, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
        for block, (channels, units) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
            inner, outer = max(1, round(channels * width)), max(1, round(4 * channels * width))
            for unit in range(units):
                layers.append(Bottleneck(depth, inner, outer, 2 if unit == units - 1 and block < 3 else 1))
                depth = outer
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(depth, 7)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(images).mean(dim=(2, 3)))


class Bottleneck(nn.Module):
    """A unit of ResNet-50."""

    def __init__(self, depth: int, inner: int, outer: int, stride: int):
        super().__init__()
        self.residual = nn.Sequential(
            *(*_convolution(depth, inner, 1, 1), nn.ReLU(inplace=True)),
            *(*_convolution(inner, inner, 3, stride), nn.ReLU(inplace=True)),
            *_convolution(inner, outer, 1, 1),
        )
        if depth != outer:
            self.shortcut = nn.Sequential(*_convolution(depth, outer, 1, stride))
        else:
            self.shortcut = nn.MaxPool2d(1, stride) if stride > 1 else nn.Identity()

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return nn.functional.relu(self.residual(maps) + self.shortcut(maps), inplace=True)


def _convolution(depth: int, channels: int, size: int, stride: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(depth, channels, size, stride, size // 2, bias=False), nn.BatchNorm2d(channels)


NETWORKS = {'vgg_face': VGGFace, 'resnet50': ResNet50}


def parameters(model: str, size: int, width: float) -> int:
    """Returns the number of trained values of a network."""
    return sum(parameter.numel() for parameter in NETWORKS[model](size, width).parameters())


@functools.cache
def _training(windows_file: str, model: str, seq_len: int, batch: int, size: int, width: float, workers: int) -> tuple:
    torch.manual_seed(0)
    with open(windows_file) as file:
        rows = json.load(file)
    data = Windows(tuple(tuple(row['frames']) for row in rows), tuple(row['label'] for row in rows), seq_len, size)
    loader = DataLoader(data, batch, shuffle=True, num_workers=workers, drop_last=True, persistent_workers=workers > 0)
    network = NETWORKS[model](size, width).to(memory_format=torch.channels_last).train()
    return loader, network, torch.optim.Adam(network.parameters(), lr=1e-5), {'batches': iter(loader)}


def finetune(
    windows_file: str,
    model: str,
    seq_len: int,
    batch: int,
    size: int,
    width: float,
    workers: int,
    steps: int,
    bfloat16: bool,
) -> float:
    """Returns the windows/s of some training steps on padded windows, whose frames' logits are averaged."""
    loader, network, optimizer, state = _training(windows_file, model, seq_len, batch, size, width, workers)
    began = time.perf_counter()
    for _ in range(steps):
        try:
            frames, labels = next(state['batches'])
        except StopIteration:
            state['batches'] = iter(loader)
            frames, labels = next(state['batches'])
        images = frames.flatten(0, 1).contiguous(memory_format=torch.channels_last).float().div_(127.5).sub_(1.0)
        with torch.autocast('cpu', torch.bfloat16, enabled=bfloat16):
            logits = network(images)
        logits = logits.float().view(len(labels), seq_len, 7).mean(dim=1)
        loss = nn.functional.cross_entropy(logits, labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return steps * batch / (time.perf_counter() - began)


def main() -> None:
    for line in sys.stdin:
        question = json.loads(line)
        answer = {'decode': decode, 'finetune': finetune, 'parameters': parameters}[question.pop('what')](**question)
        print(json.dumps(answer), flush=True)


if __name__ == '__main__':
    main()
