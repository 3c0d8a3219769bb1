"""Every inversion method and prompt-to-prompt edits with PyTorch diffusers' UNet, the baseline of our speed.

Written from the papers (arXiv 2211.09794, 2305.16807, 2310.01506, 2304.06140, 2208.01626) to be as fast as the
algorithms allow in PyTorch: weights frozen, nothing waits for the device inside a loop, batches of images where the
authors take one, the prediction with text used twice, fused attention everywhere but where word attention is edited
(shared self-attention is the source's queries and keys with the edit's values), no prediction without text for a
source that its trajectory sets. It imports neither JAX nor prism_jax, so it can have an environment of its own, and
answers requests, one line of JSON each; see `peer.py`.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel

SELF_QUERIES = 32**2  # finer feature maps keep their own self-attention

Predict = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


class Step(NamedTuple):
    t: torch.Tensor  # int64 []
    alpha: float
    alpha_prev: float


class Control:
    """State of the attention control at the current step.

    Branches are Python values, numbers are tensors written in place: a compiled network then has one program per
    kind of step, and no step compiles anew.
    """

    def __init__(self, case: dict[str, torch.Tensor]):
        self.tables = {name: case[name] for name in ("source_weight", "edit_weight", "replace_self")}
        self.mapper = case["mapper"]  # [b, e, k, k]
        weights = ("source_weight", "edit_weight")
        self.source_weight, self.edit_weight = (torch.zeros_like(self.tables[name][0]) for name in weights)  # [b, e, k]
        self.is_shared = self.tables["replace_self"].flatten(1).any(1).tolist()
        self.is_mixed = self.tables["source_weight"].flatten(1).any(1).tolist()
        self.shares = self.mixes = False
        self.replace_self = torch.zeros_like(self.tables["replace_self"][0])  # [b, e]

    def enter(self, step: int) -> None:
        """Sets the state of one step of sampling."""
        self.shares, self.mixes = self.is_shared[step], self.is_mixed[step]
        for name, table in self.tables.items():
            getattr(self, name).copy_(table[step])


class Processor:
    """Attention of the UNet with or without a control. Rows without text come first, then `[b, 1 + e]` with text."""

    def __init__(self):
        self.control: Control | None = None

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None):
        is_cross = encoder_hidden_states is not None
        source = encoder_hidden_states if is_cross else hidden_states
        split = lambda x: x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)  # [rows, n, q, d]
        q, k, v = split(attn.to_q(hidden_states)), split(attn.to_k(source)), split(attn.to_v(source))
        control = self.control
        if control is not None and is_cross and control.mixes:
            out = self._mixed(control, q, k, v)
        else:
            if control is not None and not is_cross and control.shares and q.shape[2] <= SELF_QUERIES:
                q, k = self._from_source(control, q), self._from_source(control, k)
            out = F.scaled_dot_product_attention(q, k, v)
        return attn.to_out[0](out.transpose(1, 2).flatten(2))

    @staticmethod
    def _from_source(control: Control, x: torch.Tensor) -> torch.Tensor:
        null, text = _parted(control, x)
        text = _by_image(control, text)
        edits = torch.where(control.replace_self[:, :, None, None, None], text[:, :1], text[:, 1:])
        return torch.cat([null, torch.cat([text[:, :1], edits], 1).flatten(0, 1)])

    @staticmethod
    def _mixed(control: Control, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        (null_q, text_q), (null_k, text_k), (null_v, text_v) = (_parted(control, x) for x in (q, k, v))
        null = F.scaled_dot_product_attention(null_q, null_k, null_v)
        logits = (text_q @ text_k.transpose(-1, -2)).float() * q.shape[-1] ** -0.5
        text = _by_image(control, logits.softmax(-1))  # [b, 1 + e, n, q, k]
        mapped = torch.einsum("bnqk,bekl->benql", text[:, 0], control.mapper)
        take, keep = control.source_weight[:, :, None, None], control.edit_weight[:, :, None, None]
        probs = torch.cat([text[:, :1], mapped * take + text[:, 1:] * keep], 1).flatten(0, 1)
        return torch.cat([null, probs.to(v.dtype) @ text_v])


def _parted(control: Control, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows without text, and those with text."""
    b, e = control.replace_self.shape
    return x[: -b * (1 + e)], x[-b * (1 + e) :]


def _by_image(control: Control, text: torch.Tensor) -> torch.Tensor:
    b, e = control.replace_self.shape
    return text.unflatten(0, (b, 1 + e))


def move(latents: torch.Tensor, eps: torch.Tensor, alpha: float, alpha_to: float) -> torch.Tensor:
    """The DDIM step between two noise levels, in float32."""
    clean = (latents - (1 - alpha) ** 0.5 * eps) / alpha**0.5
    return alpha_to**0.5 * clean + (1 - alpha_to) ** 0.5 * eps


def stochastic(latents: torch.Tensor, eps: torch.Tensor, step: Step, eta: float) -> torch.Tensor:
    """The step to `alpha_prev` without its fresh noise, whose scale is `eta` (0: DDIM, 1: DDPM)."""
    alpha, alpha_prev = step.alpha, step.alpha_prev
    variance = eta**2 * (1 - alpha_prev) / (1 - alpha) * (1 - alpha / alpha_prev)
    clean = (latents - (1 - alpha) ** 0.5 * eps) / alpha**0.5
    return alpha_prev**0.5 * clean + (1 - alpha_prev - variance) ** 0.5 * eps


def noisy_path(latents: torch.Tensor, noise: torch.Tensor, steps: list[Step]) -> torch.Tensor:
    """Clean latents noised to every timestep, each with noise of its own, `[t + 1, b, c, h, w]`, clean ones first."""
    noisy = [step.alpha**0.5 * latents + (1 - step.alpha) ** 0.5 * n for step, n in zip(steps, noise, strict=True)]
    return torch.stack([latents, *noisy[::-1]])


def offsets(
    predict: Predict,
    trajectory: torch.Tensor,
    context: torch.Tensor,
    null: torch.Tensor,  # [b, k, d]
    steps: list[Step],
    *,
    guidance: float,
    eta: float,
) -> torch.Tensor:
    """From every sampling step of the source to its trajectory, `[t, b, c, h, w]`."""
    both, missed = torch.cat([null, context]), []
    for i, step in enumerate(steps):
        noisy = trajectory[-1 - i]
        eps = guided(*predict(torch.cat([noisy, noisy]), step.t, both).chunk(2), guidance)
        missed.append(trajectory[-2 - i] - stochastic(noisy, eps, step, eta))
    return torch.stack(missed)


def ddim_inversion(predict: Predict, latents: torch.Tensor, context: torch.Tensor, steps: list[Step]) -> torch.Tensor:
    """All latents on the way to noise, `[t + 1, b, c, h, w]`, clean ones first."""
    trajectory = [latents]
    for step in reversed(steps):
        trajectory.append(move(trajectory[-1], predict(trajectory[-1], step.t, context), step.alpha_prev, step.alpha))
    return torch.stack(trajectory)


def null_text(
    predict: Predict,
    trajectory: torch.Tensor,
    context: torch.Tensor,
    null: torch.Tensor,  # [b, k, d]
    steps: list[Step],
    *,
    guidance: float,
    inner_steps: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings `[t, b, k, d]` and the losses before each update `[t, i, b]`; all updates are made."""
    latents, tuned, history = trajectory[-1], [], []
    for i, step in enumerate(steps):
        with torch.no_grad():
            with_text = predict(latents, step.t, context)

        def land(null: torch.Tensor, latents=latents, step=step, with_text=with_text) -> torch.Tensor:
            eps = guided(predict(latents, step.t, null), with_text, guidance)
            return move(latents, eps, step.alpha, step.alpha_prev)

        null, losses = tune(land, null, trajectory[-2 - i], rate=1e-2 * (1 - i / 100), inner_steps=inner_steps)
        with torch.no_grad():
            latents = land(null)
        tuned.append(null)
        history.append(losses)
    return torch.stack(tuned), torch.stack(history)


def tune(
    land: Callable, null: torch.Tensor, target: torch.Tensor, *, rate: float, inner_steps: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The embedding after Adam's updates at one step, and the losses `[i, b]` before each."""
    null = null.detach().clone().requires_grad_()
    adam = torch.optim.Adam([null], lr=rate)
    history = []
    for _ in range(inner_steps):
        losses = (land(null) - target).square().mean((1, 2, 3))
        adam.zero_grad()
        losses.sum().backward()  # images do not touch: the gradient of each is its own
        adam.step()
        history.append(losses.detach())
    return null.detach(), torch.stack(history)


def guided(null: torch.Tensor, text: torch.Tensor, guidance: float) -> torch.Tensor:
    return null + guidance * (text - null)


def edit(
    predict: Predict,
    control: Control,
    trajectory: torch.Tensor,  # [t + 1, b, c, h, w]
    null: torch.Tensor,  # [t, b, k, d]
    contexts: torch.Tensor,  # [b, 1 + e, k, d], of the source first
    steps: list[Step],
    *,
    guidance: float,
    offset: torch.Tensor | None,  # [t, b, c, h, w]: sets the source to its trajectory; None: it is sampled
    eta: float,
) -> torch.Tensor:
    """Source and edits sampled side by side, `[b, 1 + e, c, h, w]`."""
    b, n = contexts.shape[:2]
    first = 0 if offset is None else 1  # the first branch that takes a prediction without text
    latents = trajectory[-1][:, None].repeat_interleave(n, 1)  # [b, 1 + e, c, h, w]
    for i, step in enumerate(steps):
        control.enter(i)
        context = torch.cat([null[i].repeat_interleave(n - first, 0), contexts.flatten(0, 1)])
        rows = torch.cat([latents[:, first:].flatten(0, 1), latents.flatten(0, 1)])
        without, text = predict(rows, step.t, context).split([b * (n - first), b * n])
        eps = guided(without.unflatten(0, (b, n - first)), text.unflatten(0, (b, n))[:, first:], guidance)
        if offset is None:
            latents = move(latents, eps, step.alpha, step.alpha_prev)
        else:
            edited = stochastic(latents[:, 1:], eps, step, eta) + offset[i][:, None]
            latents = torch.cat([trajectory[-2 - i][:, None], edited], 1)
    return latents


def invert(
    predict: Predict,
    case: dict[str, torch.Tensor],
    steps: list[Step],
    method: str,
    *,
    guidance: float,
    inner_steps: int,
) -> dict[str, torch.Tensor | None]:
    """trajectory, null_context `[t, b, k, d]`, offsets or None, and null_text's losses, of one method."""
    context = case["contexts"][:, 0]
    null = case["null"].expand_as(context)
    arrays = {"offsets": None}
    with torch.no_grad():
        if method == "edit_friendly":
            trajectory = noisy_path(case["latents"], case["noise"], steps)
        else:
            trajectory = ddim_inversion(predict, case["latents"], context, steps)
        if method in ("direct", "edit_friendly"):
            options = dict(guidance=guidance, eta=eta_of(method))
            arrays["offsets"] = offsets(predict, trajectory, context, null, steps, **options)
    if method == "null_text":
        options = dict(guidance=guidance, inner_steps=inner_steps)
        tuned, arrays["losses"] = null_text(predict, trajectory, context, null, steps, **options)
    else:
        tuned = (context if method == "negative_prompt" else null).expand(len(steps), *null.shape)
    return arrays | {"trajectory": trajectory, "null_context": tuned}


def eta_of(method: str) -> float:
    return 1.0 if method == "edit_friendly" else 0.0


class Server:
    """One UNet, and the two jobs on it, eager or compiled."""

    def __init__(self, request: dict[str, Any]):
        self.device, self.dtype = torch.device(request["device"]), getattr(torch, request["dtype"])
        layout = torch.channels_last if request["channels_last"] else torch.contiguous_format
        # Fast loading would need accelerate.
        options = dict(local_files_only=True, low_cpu_mem_usage=False, torch_dtype=self.dtype)
        unet = UNet2DConditionModel.from_pretrained(request["unet"], **options)
        self.layout = layout
        self.processor = Processor()
        self.unet = unet.eval().requires_grad_(False).to(self.device, memory_format=layout)
        self.unet.set_attn_processor(self.processor)
        self.networks = networks(self.unet)

    def predictor(self, mode: str) -> Predict:
        network = self.networks[mode]

        def predict(latents: torch.Tensor, t: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
            latents = latents.to(self.dtype, memory_format=self.layout)
            return network(latents, t, context.to(self.dtype), return_dict=False)[0].float()

        return predict

    def run(self, request: dict[str, Any]) -> dict[str, Any]:
        """Inverts and edits the batch in a file, and returns the time of both.

        Only at the steps `rows`, if the request has them: all programs are compiled then, at less cost.
        """
        case = self.case(request)
        rows = zip(case["t"], case["alpha"].tolist(), case["alpha_prev"].tolist(), strict=True)
        steps, predict, method = [Step(*row) for row in rows], self.predictor(request["mode"]), request["method"]
        marks = [now(self.device)]
        arrays = invert(predict, case, steps, method, **{k: request[k] for k in ("guidance", "inner_steps")})
        marks.append(now(self.device))
        given = {name: case.get(name, arrays[name]) for name in ("trajectory", "null_context")}
        self.processor.control = control = Control(case)
        try:
            with torch.inference_mode():
                options = dict(guidance=request["guidance"], offset=arrays["offsets"], eta=eta_of(method))
                edited = edit(predict, control, *given.values(), case["contexts"], steps, **options)
        finally:
            self.processor.control = None
        marks.append(now(self.device))
        if request.get("out"):
            arrays = {name: value for name, value in arrays.items() if value is not None} | {"latents": edited}
            np.savez(request["out"], **{name: value.cpu().numpy() for name, value in arrays.items()})
        return {"invert": marks[1] - marks[0], "edit": marks[2] - marks[1]}

    def case(self, request: dict[str, Any]) -> dict[str, torch.Tensor]:
        """The arrays of the request's file on the device, those of steps at its `rows` alone."""
        arrays = dict(np.load(request["case"]))
        of_steps = ("t", "alpha", "alpha_prev", "source_weight", "edit_weight", "replace_self", "noise")
        if request.get("rows"):
            arrays |= {name: arrays[name][request["rows"]] for name in of_steps}
        on_host = ("alpha", "alpha_prev")
        return {k: torch.from_numpy(v).to("cpu" if k in on_host else self.device) for k, v in arrays.items()}


def now(device: torch.device) -> float:
    """Seconds on the clock, after all work of the device."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def serve(load: Callable) -> None:
    """Answers each line of standard input on standard output, until it ends. The first one loads the server."""
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries may print
    server = None
    for line in sys.stdin:
        try:
            if server is None:
                server, answer = load(json.loads(line)), {"torch": torch.__version__}
            else:
                answer = server.run(json.loads(line))
        except Exception as error:  # out of memory at one batch size must not end the others
            answer = {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
        print(json.dumps(answer), file=answers, flush=True)


def networks(unet: torch.nn.Module) -> dict[str, Callable]:
    """The network by mode."""
    torch.backends.cudnn.benchmark = True
    torch._dynamo.config.recompile_limit = 64  # one program per batch size and kind of step, or checkpointing
    return {"eager": unet, "compile": torch.compile(unet, dynamic=False)}


if __name__ == "__main__":
    serve(Server)
