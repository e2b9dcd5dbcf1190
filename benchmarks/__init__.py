"""Benchmarks, one per module; `python -m benchmarks.record` runs one.

Every figure is a ratio to a baseline that runs beside it, in turns, on the same machine (docs/performance.md).
"""
