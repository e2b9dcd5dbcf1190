"""The models of the settings, as they are asked."""

from __future__ import annotations

import dataclasses

from chatfeedback.config.settings import Settings
from chatfeedback.inference.client import Endpoint
from chatfeedback.inference.registry import ModelRegistry

ADDRESS = "http://127.0.0.1:9/v1"


async def test_an_endpoint_is_endured_as_its_model_is_set() -> None:
    endured = {"first_token_seconds": 1.5, "timeout_seconds": 2.5, "max_reply_chars": 300, "attempts": 4}
    models = [{"model": "one", "base_url": ADDRESS}, {"model": "other", "base_url": ADDRESS, "attempts": 1}]
    catalogue = ModelRegistry(Settings(models=models, **endured))
    one, other = [(await model.connect()).endpoint for model in catalogue.models.values()]
    await catalogue.close()

    assert one == Endpoint("one", base_url=ADDRESS, **endured)
    assert other == dataclasses.replace(one, model="other", attempts=1)


async def test_an_endpoint_is_endured_without_settings_as_one_is_by_itself() -> None:
    catalogue = ModelRegistry(Settings(models=[{"model": "one", "base_url": ADDRESS}]))
    (model,) = catalogue.models.values()
    assert (await model.connect()).endpoint == Endpoint("one", base_url=ADDRESS)
    await catalogue.close()
