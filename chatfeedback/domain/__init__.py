"""The rules of a conversation in pure Python: no I/O, no SQL, no Gradio.

`events` says what can happen, `conversation` what the happenings add up to, `decisions` what may happen next.
"""
