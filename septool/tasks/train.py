"""Training on one device: dynamic mixtures in, the best and the last checkpoint out.

Everything that decides the next number is in the run's ``last.pt``: weights, optimiser, averaged
weights, learning-rate state, counters and the random generator. Mixtures are functions of (seed, epoch,
index), so a run that was stopped goes on to the same numbers as one that was not.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from septool import audio, checkpoints, manifest, pool
from septool.config import as_dict
from septool.errors import CheckpointError, UsageError
from septool.inference import feed
from septool.losses import LOSSES
from septool.losses.pit import best_permutation
from septool.metrics.si_snr import si_snr
from septool.mixing import DynamicMixing, Rendered, draw, render
from septool.models.build import build_model
from septool.signal.levels import model_gain
from septool.tasks.recipe import Recipe, Schedule

LOG_EVERY = 50  # steps a line of the log stands for
Report = Callable[[dict[str, Any]], None]


class DrawnMixtures(Dataset[Tensor]):
    """The mixtures of one epoch from item ``first`` on: ``[source, time]`` each, the loss's references."""

    def __init__(self, speech: pool.Pool, how: DynamicMixing, *, seed: int, epoch: int, first: int, last: int):
        self.speech, self.how = speech, how
        self.seed, self.epoch, self.first, self.last = seed, epoch, first, last

    def __len__(self) -> int:
        return self.last - self.first

    def __getitem__(self, item: int) -> Tensor:
        sources = draw(self.speech, self.how, seed=self.seed, epoch=self.epoch, index=self.first + item)
        return torch.from_numpy(sources)


@dataclass
class Progress:
    """Where a run stands."""

    step: int = 0
    best: float = -math.inf  # dB, validation SI-SNRi
    bad_epochs: int = 0  # since the last improvement or plateau step
    plateau_scale: float = 1.0
    skipped: int = 0  # steps whose gradient was not finite
    recent: list[float] = field(default_factory=list)  # losses since the last line of the log


def learning_rate(schedule: Schedule, *, step: int, epoch: int, steps: int, plateau_scale: float) -> float:
    """Return the factor on the base learning rate at a step."""
    warm = min(1.0, (step + 1) / schedule.warmup) if schedule.warmup else 1.0
    match schedule.name:
        case "exponential":
            return warm * schedule.factor ** (max(epoch - schedule.start, 0) // schedule.every)
        case "plateau":
            return warm * plateau_scale
        case "cosine":
            return warm * 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0)))
        case "trapezoid":
            return warm * min(1.0, max(steps - step, 0) / schedule.decay) if schedule.decay else warm
        case _:
            return warm


class Run:
    """One training run and its folder."""

    def __init__(self, recipe: Recipe, out: Path, device: torch.device) -> None:
        self.recipe, self.out, self.device = recipe, out, device
        torch.manual_seed(recipe.seed)
        self.model = build_model(recipe.model, recipe.config, recipe.row).to(device)
        if recipe.initialise:
            checkpoints.load_into(self.model, Path(recipe.initialise))
        self.average = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.loss = LOSSES[recipe.loss or self.model.loss]
        self.optimizers = self._optimizers()
        self.progress = Progress()
        self.hours = 0.0

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        how = self.recipe.optimizer
        lr, decay, betas = how.lr, how.weight_decay, how.betas
        if how.name == "adam":
            return [torch.optim.Adam(self.model.parameters(), lr, betas, weight_decay=decay)]
        if how.name == "adamw":
            return [torch.optim.AdamW(self.model.parameters(), lr, betas, weight_decay=decay)]
        matrices = [
            weight
            for module in self.model.modules()
            if isinstance(module, nn.Linear | nn.RNNBase)
            for name, weight in module.named_parameters(recurse=False)
            if name.startswith("weight")
        ]
        chosen = {id(weight) for weight in matrices}
        others = [weight for weight in self.model.parameters() if id(weight) not in chosen]
        return [
            torch.optim.Muon(matrices, lr, decay, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr, betas, weight_decay=decay),
        ]

    @property
    def epoch(self) -> int:
        return self.progress.step // self.recipe.loop.epoch_steps

    def batches(self, speech: pool.Pool, workers: int) -> Iterator[Tensor]:
        """Yield the rest of the current epoch's batches, ``[batch, source, time]``."""
        loop = self.recipe.loop
        done = self.progress.step % loop.epoch_steps
        left = min(loop.epoch_steps - done, loop.steps - self.progress.step)
        first = done * loop.batch
        items = DrawnMixtures(
            speech,
            self.recipe.mixing,
            seed=self.recipe.seed,
            epoch=self.epoch,
            first=first,
            last=first + left * loop.batch,
        )
        # The loader draws a base seed from the global generator; its own keeps dropout out of the matter.
        generator = torch.Generator().manual_seed(0)
        yield from DataLoader(items, batch_size=loop.batch, num_workers=workers, generator=generator)

    def autocast(self) -> Any:
        if self.recipe.loop.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def step(self, sources: Tensor) -> dict[str, float]:
        """Take one step on a batch; a loss or gradient that is not finite moves nothing and is counted."""
        progress, how = self.progress, self.recipe.optimizer
        scale = learning_rate(
            self.recipe.schedule,
            step=progress.step,
            epoch=self.epoch,
            steps=self.recipe.loop.steps,
            plateau_scale=progress.plateau_scale,
        )
        for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
            group["lr"] = how.lr * scale
        sources = sources.to(self.device)
        mixture = sources.sum(1)
        sources = sources * model_gain(mixture)[:, None]
        mixture = sources.sum(1)
        self.model.train()
        with self.autocast():
            losses = self.loss(self.model, mixture, sources)  # [B]
        kept = losses
        if self.recipe.loop.loss_floor is not None:
            kept = losses[losses > self.recipe.loop.loss_floor]
        norm = torch.tensor(0.0)
        if len(kept):
            self.model.zero_grad(set_to_none=True)
            kept.mean().backward()
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), how.clip or math.inf)
            if torch.isfinite(norm):
                for optimizer in self.optimizers:
                    optimizer.step()
                self._update_average()
            else:
                progress.skipped += 1
        progress.step += 1
        return {"loss": losses.mean().item(), "gradient": norm.item()}

    def _update_average(self) -> None:
        if not self.recipe.loop.ema:
            return
        # The average starts as the plain mean of what there is, so early weights do not linger.
        decay = min(self.recipe.loop.ema, (1 + self.progress.step) / (10 + self.progress.step))
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)

    def validate(self, rendered: list[Rendered]) -> float:
        """Return the mean SI-SNRi in dB of the weights that would be kept, over fixed mixtures."""
        current = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        if self.recipe.loop.ema:
            self.model.load_state_dict(self.average)
        self.model.eval()
        total = 0.0
        with torch.inference_mode(), self.autocast():
            for item in rendered:
                mixture = torch.from_numpy(item.mixture).to(self.device)[None]
                reference = torch.from_numpy(item.sources).to(self.device)[None]
                estimate = feed(self.model, mixture).float()
                best = best_permutation(si_snr, estimate=estimate, reference=reference).value
                total += (best - si_snr(estimate=mixture[:, None], reference=reference).mean(-1)).item()
        self.model.load_state_dict(current)
        return total / len(rendered)

    def note_validation(self, value: float) -> bool:
        """Take a validation score into account; true if it is the best so far."""
        progress, schedule = self.progress, self.recipe.schedule
        if value > progress.best:
            progress.best, progress.bad_epochs = value, 0
            return True
        if self.epoch > schedule.start:
            progress.bad_epochs += 1
        if schedule.name == "plateau" and progress.bad_epochs > schedule.patience:
            progress.plateau_scale *= schedule.factor
            progress.bad_epochs = 0
        return False

    def save(self, *, best: bool) -> None:
        """Write ``last.pt`` (to go on from), ``last.safetensors`` and, if best, ``best.safetensors``."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "progress": vars(self.progress),
            "hours": self.hours,
            "random": torch.get_rng_state(),
            "recipe": json.dumps(as_dict(self.recipe)),
        }
        with audio.replacing(self.out / "last.pt") as partial:
            torch.save(state, partial)
        kept = self.average if self.recipe.loop.ema else self.model.state_dict()
        for name in ("last", "best") if best else ("last",):
            checkpoints.save(self.out / f"{name}.safetensors", kept, self.header())

    def header(self) -> checkpoints.Header:
        """Return what the checkpoint says of itself."""
        recipe, progress = self.recipe, self.progress
        return checkpoints.Header(
            model=recipe.model,
            config=as_dict(self.model.config),
            sample_rate=recipe.data.sample_rate,
            sources=self.model.config.sources,
            trained_on=recipe.data.name,
            recipe=as_dict(recipe),
            steps=progress.step,
            hours=round(self.hours, 3),
            hardware=checkpoints.hardware(self.device),
            measured={"validation_si_snri": round(progress.best, 3)} if math.isfinite(progress.best) else {},
            software=checkpoints.software(),
        )

    def resume(self) -> None:
        """Take up ``last.pt``.

        Raises:
            CheckpointError: there is none, it is damaged, or it is of another model.
        """
        path = self.out / "last.pt"
        if not path.exists():
            raise CheckpointError(f"{path} does not exist; there is nothing to resume, start without --resume")
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.average = state["average"]
            for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(kept)
        except Exception as error:  # torch raises many kinds for a torn file or other shapes
            raise CheckpointError(f"{path} does not fit this recipe or is damaged: {error}") from None
        self.progress = Progress(**state["progress"])
        self.hours = state["hours"]
        torch.set_rng_state(state["random"].cpu())


def train(
    recipe: Recipe,
    out: Path,
    *,
    device: torch.device | str = "cpu",
    resume: bool = False,
    jobs: int = 0,
    threads: int | None = None,
    save_minutes: float = 10.0,
    report: Report = lambda _: None,
) -> float:
    """Train a model.

    Args:
        recipe: the run.
        out: its folder; gets ``recipe.json``, ``log.jsonl``, ``last.pt``, ``last.safetensors`` and
            ``best.safetensors``.
        device: where to train.
        resume: go on from ``last.pt`` in ``out``.
        jobs: processes that draw mixtures; 0 draws in this one.
        threads: processor threads of a step; torch's own choice by default.
        save_minutes: longest time between two states on disk.
        report: called with each line of the log as it is written.

    Returns:
        The best validation SI-SNRi in dB.

    Raises:
        UsageError: ``out`` holds a run and ``resume`` is false.
        CheckpointError: ``resume`` without a usable state.
    """
    if (out / "last.pt").exists() and not resume:
        raise UsageError(f"{out} holds a run already; go on with --resume or choose another --out")
    audio.make_folder(out)
    if threads:
        torch.set_num_threads(threads)
    run = Run(recipe, out, torch.device(device))
    if resume:
        run.resume()
    (out / "recipe.json").write_text(json.dumps(as_dict(recipe), indent=1) + "\n", encoding="utf-8")
    speech = pool.load(Path(recipe.data.train), recipe.data.sample_rate, max(jobs, 1))
    rows = manifest.read(Path(recipe.data.validation))[: recipe.data.validation_items]
    rendered = [render(row, recipe.data.sample_rate) for row in rows]
    started = saved = time.monotonic()
    hours = run.hours
    with (out / "log.jsonl").open("a", encoding="utf-8") as log:

        def tell(event: dict[str, Any], *, write: bool) -> None:
            report(event)
            if write:
                log.write(json.dumps(event) + "\n")
                log.flush()

        while run.progress.step < recipe.loop.steps:
            epoch = run.epoch
            for sources in run.batches(speech, jobs):
                before = time.monotonic()
                numbers = run.step(sources)
                now = time.monotonic()
                run.hours = hours + (now - started) / 3600
                progress = run.progress
                progress.recent.append(numbers["loss"])
                event = {"event": "step", "step": progress.step, "steps": recipe.loop.steps, "epoch": epoch}
                event |= numbers | {"samples_per_s": sources.shape[0] * sources.shape[-1] / (now - before)}
                line = progress.step % LOG_EVERY == 0
                if line:
                    event["loss"] = sum(progress.recent) / len(progress.recent)
                    progress.recent.clear()
                tell(event, write=line)
                if now - saved > 60 * save_minutes:
                    run.save(best=False)
                    saved = now
            value = run.validate(rendered)
            best = run.note_validation(value)
            run.save(best=best)
            saved = time.monotonic()
            event = {"event": "validation", "step": run.progress.step, "epoch": epoch, "si_snri": value}
            event |= {"best": run.progress.best, "skipped": run.progress.skipped, "hours": round(run.hours, 4)}
            tell(event | {"lr": run.optimizers[0].param_groups[0]["lr"]}, write=True)
    return run.progress.best
