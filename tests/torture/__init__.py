"""Annotators at work on the real application, which is killed under them again and again; nothing they were told may
be missing afterwards.

    uv run python -m tests.torture --kills 200 --database sqlite
"""
