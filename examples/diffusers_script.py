"""A training script as diffusers' own are, over UNet2DModel and accelerate; the lines that Diff-Tuning adds end in `# diff-tuning`.

python examples/diffusers_script.py [--model FOLDER] [--images FOLDER] [--steps N]

Without a model or images it takes a small new network and random pictures, which shows that it runs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from diffusers import DDIMPipeline, DDIMScheduler, DDPMScheduler, UNet2DModel
from PIL import Image
from torch.nn import functional as F

from difftuning import ChainOfForgetting  # diff-tuning
from difftuning.coefficients.families import Power  # diff-tuning


def pictures(folder: Path | None, size: int) -> torch.Tensor:
    """(N, 3, size, size) in [-1, 1]: the PNG files of a folder, or noise in their place."""
    if folder is None:
        return torch.rand(64, 3, size, size) * 2 - 1
    found = [np.array(Image.open(path).convert("RGB").resize((size, size))) for path in sorted(folder.glob("*.png"))]
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2) / 127.5 - 1


def main(model: str | None = None, images: Path | None = None, steps: int = 5, batch_size: int = 8) -> float:
    """Train, and return the last loss."""
    torch.manual_seed(0)
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    unet = (
        UNet2DModel.from_pretrained(model)
        if model
        else UNet2DModel(
            sample_size=16,
            block_out_channels=(16, 16),
            norm_num_groups=8,
            down_block_types=("DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D"),
        )
    )
    scheduler = DDPMScheduler(num_train_timesteps=1000)
    target = pictures(images, unet.config.sample_size)
    pipeline = DDIMPipeline(unet, DDIMScheduler.from_config(scheduler.config)).to(accelerator.device)  # diff-tuning
    pipeline.set_progress_bar_config(disable=True)  # diff-tuning
    drawn = pipeline(batch_size=32, num_inference_steps=10, output_type="np").images  # diff-tuning
    bank = torch.from_numpy(drawn).permute(0, 3, 1, 2).float() * 2 - 1  # diff-tuning
    chain = ChainOfForgetting.from_psi(Power(tau=1.0))  # diff-tuning
    loader = torch.utils.data.DataLoader(target, batch_size=min(batch_size, len(target)), shuffle=True, drop_last=True)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-4)
    unet, optimizer, loader = accelerator.prepare(unet, optimizer, loader)
    done, loss = 0, torch.zeros(())
    while done < steps:
        for clean in loader:
            timesteps = torch.randint(0, scheduler.config.num_train_timesteps, (len(clean),), device=clean.device)
            from_bank = torch.rand(len(clean)) >= chain.psi((timesteps.cpu() + 0.5) / 1000)  # diff-tuning
            clean[from_bank] = bank[torch.randint(len(bank), (int(from_bank.sum()),))].to(clean)  # diff-tuning
            noise = torch.randn_like(clean)
            noisy = scheduler.add_noise(clean, noise, timesteps)
            loss = F.mse_loss(unet(noisy, timesteps).sample, noise)
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            done += 1
            if done == steps:
                break
    return loss.item()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--steps", type=int, default=5)
    given = parser.parse_args()
    print(main(given.model, given.images, given.steps))
