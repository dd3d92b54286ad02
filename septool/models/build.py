"""From a model's name and settings to the network."""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from septool.config import JsonMapping, build, field_values
from septool.errors import ConfigError
from septool.models import MODELS
from septool.models.base import AdaptiveCompute, Model
from septool.registry import suggest


def config_of(name: str, settings: JsonMapping | None = None, variant: str | None = None) -> Any:
    """Return the configuration of a model.

    Args:
        name: a registered model.
        settings: fields of its configuration; what is not given keeps the default.
        variant: a named configuration to start from (a row of the paper's table).

    Raises:
        UsageError: no such model or variant.
        ConfigError: a setting that does not fit.
    """
    module = MODELS.module(name)
    values = dict(settings or {})
    if variant is not None:
        if variant not in module.CONFIGS:
            raise suggest(f"configuration of {name}", variant, module.CONFIGS)
        values = field_values(module.CONFIGS[variant]) | values
    config = build(module.Config, values, "config.")
    for field in dataclasses.fields(config):
        value, least = getattr(config, field.name), field.metadata.get("least", 1)
        if type(value) is int and value < least:
            raise ConfigError(f"config.{field.name} is {value}; it is at least {least}")
    return config


def adaptive_models() -> dict[str, type[AdaptiveCompute]]:
    """Return the models whose tokens halt, by their names; imports all models."""
    return {name: kind for name, kind in MODELS.items() if issubclass(kind, AdaptiveCompute)}


def build_model(name: str, settings: JsonMapping | None = None, variant: str | None = None) -> Model:
    """Build a model with fresh weights.

    Raises:
        UsageError, ConfigError: as from :func:`config_of`, or settings that do not go together.
    """
    config = config_of(name, settings, variant)
    try:
        return MODELS[name](config)
    except ValueError as error:  # settings that do not go together
        raise ConfigError(f"{name}: {error}") from None


def build_on_meta(
    name: str,
    settings: JsonMapping | None = None,
    variant: str | None = None,
    *,
    check: Callable[[int, int], None],
) -> Model:
    """Build a model on torch's "meta" device, where nothing is allocated, as long as its size is accepted.

    Args:
        name: as for :func:`build_model`.
        settings: as for :func:`build_model`.
        variant: as for :func:`build_model`.
        check: called with the number of tensors and of the numbers in them, so far, whenever the model registers a
            parameter; what it raises ends the building.

    Raises:
        UsageError, ConfigError: as from :func:`build_model`.
    """
    tensors, numbers = 0, 0

    def count(_module: nn.Module, _name: str, parameter: nn.Parameter | None) -> None:
        nonlocal tensors, numbers
        if parameter is not None:
            tensors, numbers = tensors + 1, numbers + parameter.numel()
            check(tensors, numbers)

    hook = register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"):
            return build_model(name, settings, variant)
    finally:
        hook.remove()
