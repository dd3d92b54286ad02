"""From a model's name and settings to the network."""

from collections.abc import Mapping
from typing import Any

from septool.config import build
from septool.errors import ConfigError
from septool.models import MODELS
from septool.registry import suggest


def config_of(name: str, settings: Mapping[str, Any] | None = None, row: str | None = None) -> Any:
    """Return the configuration of a model.

    Args:
        name: a registered model.
        settings: fields of its configuration; what is not given keeps the default.
        row: a named configuration to start from (a row of the paper's table).

    Raises:
        UsageError: no such model or row.
        ConfigError: a setting that does not fit.
    """
    module = MODELS.module(name)
    values = dict(settings or {})
    if row is not None:
        if row not in module.CONFIGS:
            raise suggest(f"configuration of {name}", row, module.CONFIGS)
        values = vars(module.CONFIGS[row]) | values
    config = build(module.Config, values, "config.")
    for key, value in vars(config).items():
        if type(value) is int:
            # What a named configuration does without, another may do without.
            least = min([1, *(getattr(named, key) for named in module.CONFIGS.values())])
            if value < least:
                raise ConfigError(f"config.{key} is {value}; it is at least {least}")
    return config


def build_model(name: str, settings: Mapping[str, Any] | None = None, row: str | None = None) -> Any:
    """Build a model with fresh weights: a ``septool.models.base.Model``, of the kind that the name stands for.

    Raises:
        UsageError, ConfigError: as from :func:`config_of`, or settings that do not go together.
    """
    config = config_of(name, settings, row)
    try:
        return MODELS[name](config)
    except ValueError as error:  # settings that do not go together
        raise ConfigError(f"{name}: {error}") from None
