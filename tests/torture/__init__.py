"""Torture test: annotators use the real application, which is killed under them again and again.

Nothing that they were told may be missing afterwards.

    uv run python -m tests.torture --kills 200 --database sqlite
"""
