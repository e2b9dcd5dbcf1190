"""Where replies come from.

`client` streams a reply from any endpoint, `window` fits a conversation into a model's window, `local` runs
the model that needs no endpoint at all. Nothing here knows of conversations, storage or screens.
"""
