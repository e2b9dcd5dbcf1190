"""Domain rules in pure Python: no I/O, no SQL, no Gradio.

`events` defines the events and their stored form. `conversation` and `feedback` hold the state that the events fold to,
and the decisions that return new events.
"""
