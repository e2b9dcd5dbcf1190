"""Inference: clients of language models.

`client` streams a reply from any endpoint, `context_window` fits a conversation into a model's window, `local` runs
the model that needs no endpoint. Nothing here knows of storage or the user interface.
"""
