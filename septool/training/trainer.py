"""The trainer: from a recipe to checkpoints, step by step and epoch by epoch."""

import json
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from septool import checkpoints
from septool.atomic import atomic_write
from septool.device import hardware
from septool.errors import SeptoolError, UsageError
from septool.files import make_folder, sha256_of
from septool.inference.dtype import torch_dtype
from septool.models.base import Model
from septool.models.build import build_model, build_on_meta
from septool.provenance import software
from septool.training.data import Batch, TrainingSet, count_samples, load_micro_batches
from septool.training.distributed import Distributed
from septool.training.initialization import freeze_modules, load_initial_weights
from septool.training.interrupt import Interrupt
from septool.training.log import Event, TrainingLog, check_tensorboard, summarize_steps
from septool.training.optim import learning_rate_factor, mean_weights
from septool.training.recipe import Recipe
from septool.training.recipe_files import effective_record
from septool.training.role import Role, training_role
from septool.training.state import TrainingState

LOG_EVERY = 50  # steps per line of the log
# Steps skipped one after the other that end a run; the loss scale of float16 takes about 20 to find its level.
MOST_SKIPPED_IN_A_ROW = 100
MOST_WEIGHTS, MOST_TENSORS = 10**9, 20_000  # limits for a network
Report = Callable[[Event], None]


def check_network_size(recipe: Recipe) -> Model:
    """Refuse a network that is too large, before it is allocated.

    Returns:
        The network on torch's "meta" device.

    Raises:
        UsageError: it has more than :data:`MOST_WEIGHTS` weights or :data:`MOST_TENSORS` tensors.
    """

    def check(tensors: int, weights: int) -> None:
        if weights > MOST_WEIGHTS or tensors > MOST_TENSORS:
            raise UsageError(
                f"the settings of config make a network of more than {MOST_WEIGHTS} weights, or of more than "
                f"{MOST_TENSORS} matrices of them; septool models show {recipe.model} has the usual ones"
            )

    return build_on_meta(recipe.model, recipe.config, recipe.variant, check=check)


class LossModule(nn.Module):
    """A run's losses as a module's forward pass, for the synchronization of gradients."""

    def __init__(self, model: nn.Module, losses: Callable[[Batch], tuple[Tensor, dict[str, Tensor]]]) -> None:
        """Compute ``losses``, those of each item ``[batch]`` and what is added to each, with ``model``."""
        super().__init__()
        self.model, self.losses = model, losses

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of each item, ``[batch]``, and what is added to each."""
        return self.losses(batch)


class Trainer:
    """One training run in its folder.

    Its :class:`~septool.training.role.Role` defines the data and the score, its
    :class:`~septool.training.state.TrainingState` what it is resumed from.
    """

    def __init__(self, recipe: Recipe, folder: Path, distributed: Distributed, *, resume: bool = False) -> None:
        """Build a run from the initial weights of its recipe, or from the state in its folder.

        Raises:
            UsageError: a model, setting or checkpoint that does not exist.
            CheckpointError: initial weights or a state are missing, damaged, or of another network.
        """
        self.recipe, self.folder, self.distributed = recipe, folder, distributed
        self.device = distributed.device
        torch.manual_seed(recipe.seed)
        self.model: Model = build_model(recipe.model, recipe.config, recipe.variant).to(self.device)
        self._differences = {} if resume else load_initial_weights(self.model, recipe)
        frozen = freeze_modules(self.model, recipe.freeze)
        self._frozen_norms = [norm for module in frozen for norm in module.modules() if isinstance(norm, BatchNorm)]
        norms = (module for module in self.model.modules() if isinstance(module, BatchNorm))
        self.batchnorm_buffers = [value for norm in norms for value in norm.buffers()]
        role = training_role(recipe)
        self.role: Role[Model, Any] = role(recipe, self.model, distributed)
        self.state = TrainingState(recipe, self.model, self.device, worst=role.worst_score())
        self.changed = self.state.resume(folder) if resume else {}
        self._drop_candidates()  # which this run's settings do not keep
        self._loss_module = LossModule(self.model, lambda batch: self.role.losses_and_auxiliary(batch))
        self._wrapped_loss = distributed.wrap(self._loss_module)
        self.manifests: dict[str, str] = {}  # sha256 by path
        self._log: TrainingLog | None = None
        self._report: Report = lambda _: None
        self._interrupt = Interrupt()
        self._save_seconds, self._hours_before = math.inf, self.state.hours
        self._started = self._last_save = time.monotonic()

    @property
    def completed_epochs(self) -> int:
        """Number of epochs whose steps have all been taken."""
        return self.state.progress.step // self.recipe.loop.epoch_steps

    @property
    def current_epoch(self) -> int:
        """Index of the epoch that is being trained or validated: an epoch ends with its validation."""
        progress = self.state.progress
        last_taken = progress.step - 1 if progress.validation_pending else progress.step
        return last_taken // self.recipe.loop.epoch_steps

    @property
    def out_of_patience(self) -> bool:
        """Whether ``loop.patience`` epochs have passed without improvement; never, if it is 0."""
        return 0 < self.recipe.loop.patience <= self.state.progress.epochs_since_best

    @property
    def finished(self) -> bool:
        """Whether the run has reached its last step or is out of patience."""
        return self.state.progress.step >= self.recipe.loop.steps or self.out_of_patience

    @property
    def stopped(self) -> bool:
        """Whether any process of the run has been asked to stop."""
        return self.distributed.any(self._interrupt.received)

    def compile(self) -> None:
        """Compile the loss and the parts of the model that it calls; validation stays uncompiled."""
        self._loss_module.compile()

    def fit(
        self,
        *,
        jobs: int = 0,
        tensorboard: bool = False,
        save_minutes: float = 10.0,
        report: Report = lambda _: None,
    ) -> float:
        """Train to the end of the run, or until a signal asks for its end; return the best validation score.

        Args:
            jobs: number of loader processes; 0 loads in this process.
            tensorboard: write TensorBoard files as well.
            save_minutes: maximum time between two saved states.
            report: callback for events, called in the main process.
        """
        progress, is_main = self.state.progress, self.distributed.is_main
        if tensorboard:
            check_tensorboard()
        validation_set = self.role.validation_set()  # first, so that errors in it are reported before the long decoding
        training_set = self.role.training_set(jobs)
        if not progress.step:
            self.role.begin()
            self.distributed.broadcast(self.model.parameters())  # computed separately, they may differ in rounding
            self.state.restart_average()
        used = (self.recipe.data.train, self.recipe.data.validation, *self.recipe.mixing.manifests)
        self.manifests = {path: sha256_of(Path(path)) for path in used}
        self._note_changed_data()
        make_folder(self.folder)  # created only once the run can start
        self._report, self._save_seconds = report, 60 * save_minutes
        with ExitStack() as stack:
            if is_main:
                with atomic_write(self.folder / "recipe.json") as partial:
                    partial.write_text(json.dumps(effective_record(self.recipe), indent=1) + "\n", encoding="utf-8")
                pending = progress.validation_pending
                log = TrainingLog(self.folder, step=progress.step, validation_pending=pending, tensorboard=tensorboard)
                self._log = stack.enter_context(log)
            self._interrupt = stack.enter_context(Interrupt())
            self._emit("start", self._describe())
            for key, (was, now) in self._differences.items():
                self._emit("initial weights", {"setting": key, "was": was, "is": now})
            for key, (was, now) in self.changed.items():
                self._emit("changed", {"setting": key, "was": was, "is": now})
            self._started = self._last_save = time.monotonic()
            self._hours_before = self.state.hours
            while (progress.validation_pending or not self.finished) and not self.stopped:
                if not self.epoch(training_set, jobs):
                    break
                self._validate_epoch(validation_set)
            if self.stopped:
                self._emit("interrupted", {}, write=False)
                self.distributed.barrier()  # until the state is written
                self._interrupt.reraise()
            if self.out_of_patience:
                self._emit("early stop", {"epochs": progress.epochs_since_best})
            if progress.average_candidates:
                self._emit("average", self.average_candidates(validation_set))
        return progress.best

    def _note_changed_data(self) -> None:
        """Handle manifests that have changed since: scores on another validation set are not comparable."""
        before, path_now, progress = self.state.manifests, self.recipe.data.validation, self.state.progress
        for path, now in self.manifests.items():
            if before.get(path, now) != now:
                self.changed[path] = before[path][:12], now[:12]
        path_before = str(self.changed.get("data.validation", (path_now,))[0])
        known = before.get(path_before, "unknown" if path_before != path_now else self.manifests[path_now])
        is_other = known != self.manifests[path_now]
        is_other |= not self.changed.keys().isdisjoint(("data.validation_items", "data.sample_rate"))
        if is_other and (progress.validation_pending or progress.step < self.recipe.loop.steps):
            progress.best, progress.epochs_since_best, progress.bad_epochs = self.role.worst_score(), 0, 0
            progress.average_candidates.clear()
        self.state.manifests = dict(self.manifests)

    def epoch(self, training_set: TrainingSet, jobs: int = 0) -> bool:
        """Take the remaining steps of an epoch and save the state; return False if the run was asked to stop."""
        loop, progress, distributed = self.recipe.loop, self.state.progress, self.distributed
        epoch = self.current_epoch
        end = min((epoch + 1) * loop.epoch_steps, loop.steps)
        shares = load_micro_batches(
            training_set,
            range(progress.step, end),
            rank=distributed.rank,
            world_size=distributed.world_size,
            accumulation_steps=loop.accumulation_steps,
            jobs=jobs,
            pin=self.device.type == "cuda",
        )
        before = time.monotonic()
        with closing(shares):
            for micro_batches in shares:
                ready = time.monotonic()
                numbers = self.step(*micro_batches)
                now = time.monotonic()
                self.state.hours = self._hours_before + (now - self._started) / 3600
                samples = distributed.world_size * sum(map(count_samples, micro_batches))
                event = {"steps": loop.steps, "epoch": epoch, "lr": self.learning_rate}
                event |= {"samples_per_s": samples / (now - before)}
                event |= {"waiting": (ready - before) / (now - before)}  # fraction of the time spent waiting for data
                before = now
                self._log_step(numbers, event)
                if self.stopped:
                    break
                if distributed.is_main and now - self._last_save > self._save_seconds and progress.step < end:
                    self.save()
                    self._last_save = now
        if progress.step < end:
            if distributed.is_main:
                self.save()
            return False
        if not progress.validation_pending:
            progress.validation_pending = True
            if distributed.is_main:
                self.save()  # validation may take longer than a scheduler's grace period after SIGTERM
        return not self.stopped

    def step(self, *micro_batches: Batch) -> Event:
        """Take one step on this process's share of a batch; a non-finite step changes nothing but a counter.

        Returns:
            The mean loss of the whole batch, the norm of its gradient before clipping, and the means of what else is
            added to the loss.

        Raises:
            SeptoolError: it was one of :data:`MOST_SKIPPED_IN_A_ROW`.
        """
        progress = self.state.progress
        self._set_learning_rate()
        seed = np.random.SeedSequence([self.recipe.seed, progress.step, self.distributed.rank])
        torch.manual_seed(int(seed.generate_state(1, np.uint64)[0]))
        self.model.train()
        for norm in self._frozen_norms:
            norm.eval()  # or their statistics would be trained
        self.model.zero_grad(set_to_none=True)
        buffers_before = [value.clone() for value in self.batchnorm_buffers]
        means, counted = self._accumulate_gradients(micro_batches)
        norm = self._apply_gradients(counted, buffers_before)
        progress.step += 1
        if progress.skipped_in_a_row >= MOST_SKIPPED_IN_A_ROW:
            raise SeptoolError(
                f"no gradient of the last {progress.skipped_in_a_row} steps, up to {progress.step}, was finite; "
                "a lower optimizer.lr or loop.precision=fp32 may help"
            )
        return {"loss": means.pop("loss"), "gradient": norm} | means

    def _accumulate_gradients(self, micro_batches: Sequence[Batch]) -> tuple[dict[str, float], float]:
        """Compute the gradient of the loss, summed over the items of the whole batch and divided by their number.

        Returns:
            The mean loss of the whole batch and the means of what is added to it, by name, and the number of items
            that count: those above the recipe's floor of the loss.
        """
        loop, world = self.recipe.loop, self.distributed.world_size
        share = loop.batch / world
        loss, counted = 0.0, 0.0
        added: dict[str, float] = {}
        for number, micro_batch in enumerate(micro_batches, 1):
            with nullcontext() if number == len(micro_batches) else self.distributed.no_sync(self._wrapped_loss):
                with self._autocast():
                    losses, auxiliary = self._wrapped_loss(micro_batch)  # [B], numbers
                # NaN does not count as below the floor, so that the step is skipped because of it.
                above = losses if loop.loss_floor is None else losses[~(losses <= loop.loss_floor)]
                for value in auxiliary.values():  # after the floor, which is about how well an item is separated
                    above = above + value
                self.state.scaler.scale(above.sum() / share).backward()
            loss += losses.mean().item() / len(micro_batches)
            for name, value in auxiliary.items():
                added[name] = added.get(name, 0.0) + value.item() / len(micro_batches)
            counted += len(above)
        loss, counted, *rest = self.distributed.all_reduce_sum(
            loss / world, counted, *(value / world for value in added.values())
        )
        return {"loss": loss} | dict(zip(added, rest, strict=True)), counted

    def _apply_gradients(self, counted: float, buffers_before: Sequence[Tensor]) -> float:
        """Update weights and their average by the gradient; return its norm before clipping.

        Nothing is updated if no item counts, nor if the norm is not finite: then batch normalization is set back to
        ``buffers_before``, its buffers before the forward pass, and the step counted as skipped.
        """
        progress = self.state.progress
        norm = self._clip_gradient(scale=self.recipe.loop.batch / counted if counted else 0.0)
        if counted and math.isfinite(norm):
            progress.skipped_in_a_row = 0
            for optimizer in self.state.optimizers:
                if any(weight.grad is not None for group in optimizer.param_groups for weight in group["params"]):
                    self.state.scaler.step(optimizer)  # which refuses one without any gradients
            if self.state.average is not None:
                self.state.average.update(progress.step)
        elif counted:
            progress.skipped_steps += 1
            progress.skipped_in_a_row += 1
            for value, before in zip(self.batchnorm_buffers, buffers_before, strict=True):
                value.copy_(before)
        self.state.scaler.update()
        return norm

    def _autocast(self) -> AbstractContextManager[object]:
        dtype = torch_dtype(self.recipe.loop.precision)
        return nullcontext() if dtype is None else torch.autocast(self.device.type, dtype)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the last step."""
        return self.state.optimizers[0].param_groups[0]["lr"]

    def _set_learning_rate(self) -> None:
        factor = learning_rate_factor(
            self.recipe.schedule,
            step=self.state.progress.step,
            epoch=self.completed_epochs,
            steps=self.recipe.loop.steps,
            plateau_scale=self.state.progress.plateau_scale,
        )
        for optimizer in self.state.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.recipe.optimizer.lr * factor

    def _clip_gradient(self, scale: float) -> float:
        """Scale and clip the gradient; return its norm before clipping."""
        for optimizer in self.state.optimizers:
            self.state.scaler.unscale_(optimizer)
        if scale != 1:
            for weight in self.model.parameters():
                if weight.grad is not None:
                    weight.grad.mul_(scale)
        clip = self.recipe.optimizer.clip or math.inf
        return nn.utils.clip_grad_norm_(self.model.parameters(), clip).item()

    def validate(self, items: Sequence[object]) -> float:
        """Return the validation score of the weights that would be kept."""
        current = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.model.load_state_dict(self.state.weights)
        # Batch-normalization buffers differ between processes.
        self.distributed.broadcast(self.model.state_dict().values())
        self.model.eval()
        with torch.inference_mode(), self._autocast():
            score = self.role.score(items)
        self.model.load_state_dict(current)
        # Learning rates and the end of the run depend on it, so it must be identical in all processes.
        return self.distributed.all_reduce_sum(score if self.distributed.is_main else 0.0)[0]

    def _validate_epoch(self, items: Sequence[object]) -> None:
        """Validate at the end of an epoch, log the score, and save the results."""
        progress = self.state.progress
        epoch = self.current_epoch
        score = self.validate(items)
        progress.validation_pending = False
        best = self.note_score(score)
        if self.recipe.loop.average:
            progress.average_candidates.append([score, progress.step])
            self._drop_candidates()
        event = {"epoch": epoch, self.role.metric.key: score, "best": progress.best, "skipped": progress.skipped_steps}
        event |= {"hours": round(self.state.hours, 4), "lr": self.learning_rate}
        self._emit("validation", event)
        if self.distributed.is_main:
            self.save(score, best=best)
        self._last_save = time.monotonic()

    def note_score(self, score: float) -> bool:
        """Record a validation score; return whether it is the best so far."""
        progress, schedule = self.state.progress, self.recipe.schedule
        if self.role.is_better(score, progress.best):
            progress.best, progress.epochs_since_best, progress.bad_epochs = score, 0, 0
            return True
        progress.epochs_since_best += 1
        if self.completed_epochs > schedule.start:
            progress.bad_epochs += 1
        if schedule.name == "plateau" and progress.bad_epochs > schedule.patience:
            progress.plateau_scale *= schedule.factor
            progress.bad_epochs = 0
        return False

    def _drop_candidates(self) -> None:
        """Keep as many of the checkpoints that may be averaged at the end as the recipe averages."""
        loop, candidates = self.recipe.loop, self.state.progress.average_candidates
        if loop.average_of == "best":
            candidates.sort(key=lambda entry: entry[0], reverse=self.role.metric.better == "higher")
            del candidates[loop.average :]
        else:
            candidates.sort(key=lambda entry: entry[1])
            del candidates[: max(len(candidates) - loop.average, 0)]

    def save(self, score: float = math.nan, *, best: bool = False) -> None:
        """Write ``last.safetensors``, if best ``best.safetensors``, and ``last.pt`` to resume from.

        ``score`` is the validation score of these very weights, NaN if they have none.

        ``last.pt`` is written last, so that after a kill the state is never newer than the other files.
        """
        progress = self.state.progress
        candidates = [self._candidate_path(int(step)) for _, step in progress.average_candidates]
        names = ["last", *(["best"] if best else [])]
        names += [path.stem for path in candidates if path == self._candidate_path(progress.step)]
        for name in names:
            checkpoints.save(self.folder / f"{name}.safetensors", self.state.weights, self.header(score))
        self.state.save(self.folder)
        for path in set(self.folder.glob("step-*.safetensors")) - set(candidates):
            path.unlink()

    def _candidate_path(self, step: int) -> Path:
        return self.folder / f"step-{step}.safetensors"

    def average_candidates(self, items: Sequence[object]) -> Event:
        """Average the kept checkpoints into ``average.safetensors``; return the event to log."""
        several = []
        candidates = self.state.progress.average_candidates
        self.distributed.barrier()  # until the files are written
        for _, step in candidates:
            checkpoints.load_into(self.model, self._candidate_path(int(step)))
            several.append({name: value.clone() for name, value in self.model.state_dict().items()})
        mean = mean_weights(several)
        self.model.load_state_dict(mean)
        if self.state.average is not None:
            self.state.average.weights = mean
        score = self.validate(items)
        if self.distributed.is_main:
            checkpoints.save(self.folder / "average.safetensors", mean, self.header(score))
        return {self.role.metric.key: score, "of": [step for _, step in candidates]}

    def header(self, score: float) -> checkpoints.Header:
        """Return the header of a checkpoint; ``score`` is its validation score."""
        recipe = self.recipe
        return checkpoints.Header(
            model=recipe.model,
            config=asdict(self.model.config),
            sample_rate=recipe.data.sample_rate,
            sources=self.model.sources,
            trained_on=recipe.data.name,
            recipe=effective_record(recipe),
            steps=self.state.progress.step,
            hours=round(self.state.hours, 3),
            hardware=hardware(self.device),
            measured={f"validation_{self.role.metric.key}": round(score, 3)} if math.isfinite(score) else {},
            software=software(),
            manifests=self.manifests,
        )

    def _emit(self, name: str, event: Event, *, report: bool = True, write: bool = True) -> None:
        """Report an event of the main process, and ``write`` it to the log."""
        if self._log:
            event = {"event": name, "step": self.state.progress.step} | event
            if report:
                self._report(event)
            if write:
                self._log.write(event)

    def _log_step(self, numbers: dict[str, float], event: Event) -> None:
        """Report a step; every :data:`LOG_EVERY` steps log a summary of those since the last line.

        Args:
            numbers: what :meth:`step` returns.
            event: what else there is to report of it.
        """
        recent = self.state.progress.recent_steps
        recent.append(numbers)
        self._emit("step", numbers | event, write=False)
        if self.state.progress.step % LOG_EVERY == 0:
            self._emit("step", summarize_steps(recent) | event, report=False)
            recent.clear()

    def _describe(self) -> Event:
        """Return everything but the recipe that the results of a run depend on."""
        return {
            "model": self.recipe.model,
            "parameters": sum(weight.numel() for weight in self.model.parameters()),
            "data_name": self.recipe.data.name,
            "batch": self.recipe.loop.batch,
            "processes": self.distributed.world_size,
            "pieces": self.recipe.loop.accumulation_steps,
            "hardware": hardware(self.device),
            "threads": torch.get_num_threads(),
            "software": software(),
            "manifests": self.manifests,
        }
