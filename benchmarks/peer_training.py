"""A training step of Stable Diffusion with PyTorch diffusers, to compare speeds.

As diffusers' own text-to-image script has it, and as fast as PyTorch goes: UNet in float32 under autocast, text encoder
and VAE frozen in half precision, fused attention, fused AdamW, the average by foreach, nothing that waits for the
device within a step. It imports neither JAX nor prism_jax, so it can have an environment of its own, and answers
requests, one line of JSON each; see `peer.py`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel

from benchmarks.peer_torch import networks, now, serve

Batch = Mapping[str, torch.Tensor]


class Server:
    """Networks, optimizer and average, and the step that changes them, eager or compiled."""

    def __init__(self, request: Mapping[str, Any]):
        self.device, self.dtype = torch.device(request["device"]), getattr(torch, request["dtype"])
        self.layout = torch.channels_last if request["channels_last"] else torch.contiguous_format
        self.optimizer_options, self.decay = request["optimizer"], request["ema_decay"]
        load = lambda kind, name, dtype: kind.from_pretrained(request[name], local_files_only=True, torch_dtype=dtype)
        frozen = lambda network: network.eval().requires_grad_(False).to(self.device)
        self.vae = frozen(load(AutoencoderKL, "vae", self.dtype)).to(memory_format=self.layout)
        self.text_encoder = frozen(load(CLIPTextModel, "text_encoder", self.dtype))
        unet = load(UNet2DConditionModel, "unet", torch.float32).train()
        self.unet = unet.to(self.device, memory_format=self.layout)
        self.params = list(self.unet.parameters())
        self.ema = [param.detach().clone() for param in self.params]
        self.optimizer = self.adamw(self.optimizer_options)
        self.networks = networks(self.unet)

    def adamw(self, options: Mapping[str, Any]) -> torch.optim.Optimizer:
        """Biases and norms do not decay, as in ours."""
        matrices, rest = ([p for p in self.params if (p.ndim > 1) is is_matrix] for is_matrix in (True, False))
        groups = [{"params": matrices, "weight_decay": options["weight_decay"]}, {"params": rest, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=options["lr"], betas=options["betas"], eps=options["eps"], fused=True)

    def step(self, network: Callable, batch: Batch, *, is_cached: bool, draws: Batch) -> tuple[torch.Tensor, ...]:
        """One update; loss and norm of the gradient before it. `draws` holds noise and timesteps, or neither."""
        with torch.no_grad():
            latents = batch["latents"] if is_cached else self.encoded(batch["image"])
            context = self.text_encoder(batch["tokens"])[0]
            noise = draws["noise"] if "noise" in draws else torch.randn_like(latents)
            alphas = batch["alphas"]
            count = (len(latents),)
            t = draws["t"] if "t" in draws else torch.randint(0, len(alphas), count, device=self.device)
            alpha = alphas[t][:, None, None, None]
            noisy = (alpha.sqrt() * latents + (1 - alpha).sqrt() * noise).contiguous(memory_format=self.layout)
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            predicted = network(noisy, t, context, return_dict=False)[0]
        loss = F.mse_loss(predicted.float(), noise)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.params, self.optimizer_options["clip"])
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(self.ema, self.params, 1 - self.decay)
        return loss.detach(), norm

    def encoded(self, images: torch.Tensor) -> torch.Tensor:
        """The scaled mean of the posterior, float32, of images [b, 3, h, w]."""
        images = images.to(self.dtype, memory_format=self.layout)
        return self.vae.encode(images).latent_dist.mean.float() * self.vae.config.scaling_factor

    def run(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Makes steps on the batch in a file: those whose draws are in it, or as many as asked for, timed."""
        arrays = np.load(request["case"])
        batch = {name: torch.from_numpy(arrays[name]).to(self.device) for name in arrays.files}
        network = self.networks[request["mode"]]
        (self.unet.enable_gradient_checkpointing if request["remat"] else self.unet.disable_gradient_checkpointing)()
        if request["steps"] is None:
            drawn = zip(batch["noise"], batch["t"], strict=True)
            told = [self.step(network, batch, is_cached=True, draws={"noise": n, "t": t}) for n, t in drawn]
            losses, norms = zip(*told, strict=True)
            return {"losses": [float(loss) for loss in losses], "norms": [float(norm) for norm in norms]}
        start = now(self.device)
        for _ in range(request["steps"]):
            self.step(network, batch, is_cached=request["is_cached"], draws={})
        return {"seconds": now(self.device) - start}


if __name__ == "__main__":
    serve(Server)
