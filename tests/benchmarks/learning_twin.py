# SPDX-License-Identifier: Apache-2.0
"""PyTorch's side of learning.py, started by it in the environment of torch_venv.py.

The only argument is a JSON object of the settings. The last line of the output is a JSON list with an object for each
epoch: `loss`, the mean over its steps, and `correct` of `total` validation images.
"""

import json
import sys
import time

import numpy as np
import torch
import torchvision
from torch import nn


def build(twin: str, size: int) -> nn.Module:
    """Returns a network of torchvision or timm with seven classes, as its library starts it.

    torchvision's vgg16 repeats a last map of less than 7x7, so that fc6 has 49 weights for each value. Its twin has one
    weight for each value, started alike.
    """
    library, name = twin.split('.')
    if library == 'timm':
        import timm  # here, because only some networks need it

        return timm.create_model(name, num_classes=7)
    network = torchvision.models.get_model(name, weights=None, num_classes=7)
    if name.startswith('vgg'):
        network.avgpool = nn.Identity()
        fc6 = nn.Linear(512 * (size // 32) ** 2, 4096)
        nn.init.normal_(fc6.weight, 0, 0.01)
        nn.init.zeros_(fc6.bias)
        network.classifier[0] = fc6
    return network


def to_input(images: np.ndarray) -> torch.Tensor:
    """Converts uint8 [N, H, W, 3] to float32 [N, 3, H, W] in [-1, 1], channels last in memory."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def train(
    data: str, twin: str, seed: int, epochs: int, batch: int, rate: float, threads: int, bfloat16: bool
) -> list[dict]:
    """Trains with Adam on shuffled batches. Returns loss and score of each epoch."""
    torch.manual_seed(seed)
    if threads:
        torch.set_num_threads(threads)
    arrays = np.load(data)
    network = build(twin, arrays['train_images'].shape[1]).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    rows = []
    for epoch in range(1, epochs + 1):
        began, losses = time.monotonic(), []
        network.train()
        for chosen in torch.randperm(len(arrays['train_labels'])).split(batch):
            labels = torch.from_numpy(arrays['train_labels'][chosen.numpy()])
            with torch.autocast('cpu', torch.bfloat16, enabled=bfloat16):
                logits = network(to_input(arrays['train_images'][chosen.numpy()]))
            loss = nn.functional.cross_entropy(logits.float(), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        rows.append({'loss': float(np.mean(losses)), **score(network, arrays, batch, bfloat16)})
        print(f'{twin} seed {seed} epoch {epoch}: {rows[-1]}, {time.monotonic() - began:.0f} s', file=sys.stderr)
    return rows


@torch.no_grad()
def score(network: nn.Module, arrays, batch: int, bfloat16: bool) -> dict[str, int]:
    """Returns the validation images answered correctly, and all of them."""
    network.eval()
    correct, labels = 0, arrays['val_labels']
    for first in range(0, len(labels), batch):
        with torch.autocast('cpu', torch.bfloat16, enabled=bfloat16):
            answers = network(to_input(arrays['val_images'][first : first + batch])).argmax(dim=1)
        correct += int((answers.numpy() == labels[first : first + batch]).sum())
    return {'correct': correct, 'total': len(labels)}


if __name__ == '__main__':
    print(json.dumps(train(**json.loads(sys.argv[1]))))
