"""Model registry: endpoints made from the settings."""

from __future__ import annotations

import dataclasses

from chatfeedback.config.settings import Settings
from chatfeedback.inference.client import Endpoint
from chatfeedback.inference.registry import ModelRegistry

ADDRESS = "http://127.0.0.1:9/v1"


async def test_registry_passes_limits_of_settings_to_endpoint() -> None:
    limits = {"first_token_seconds": 1.5, "timeout_seconds": 2.5, "max_reply_chars": 300, "attempts": 4}
    models = [{"model": "one", "base_url": ADDRESS}, {"model": "other", "base_url": ADDRESS, "attempts": 1}]
    registry = ModelRegistry(Settings(models=models, **limits))
    one, other = [(await model.connect()).endpoint for model in registry.models.values()]
    await registry.close()

    assert one == Endpoint("one", base_url=ADDRESS, **limits)
    assert other == dataclasses.replace(one, model="other", attempts=1)


async def test_registry_uses_limits_of_endpoint_without_settings() -> None:
    registry = ModelRegistry(Settings(models=[{"model": "one", "base_url": ADDRESS}]))
    (model,) = registry.models.values()
    assert (await model.connect()).endpoint == Endpoint("one", base_url=ADDRESS)
    await registry.close()
