"""What is fast, measured against its limit: each module is one benchmark, `python -m benchmarks.record` runs one.

Every figure is a ratio to a baseline that runs beside it, in turns, on the same machine (docs/performance.md).
"""
