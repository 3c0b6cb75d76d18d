"""The engines that are measured, one module each, and the questions that they are asked.

A module has PACKAGES (of PyPI), JARS (of Maven Central; JARS_ALONE: without what they depend on), BATCH and STREAM (the works it
can do), and
    batch(bench, work, log, out)     asks it over the log's lake and writes Parquet, compressed with zstd at its first level, to the path `out`;
    stream(bench, work, log, out)    asks it over the log's topic, from its begin to the end it has now; `out` as above,
                                     or None: its rows are discarded.
Both return {how: Cost}, `how` being "" for an engine that is a program, run whole; for one that is a service "cold" (all of its
processes from their start to the end of a first job) and "warm" (the same job once more in what is running then, alone).

Where an engine is a Python package the module is a program as well, which is what runs in the measured process.
"""
import importlib

WORKS = {
    "pages": "count, sum, least, greatest and mean by page and minute",
    "users": "the same by user and minute",
    "hops": "count by user over five minutes, every minute",
    "sessions": "count and sum by user, sessions that end after 30 s of silence",
    "distinct": "distinct users by page and minute",
    "top": "the ten pages of each minute with the most revenue",
    "quantile": "the exact median amount by page and minute",
}
# Of each mode the engines, and the works that are asked unless others are named.
MODES = {
    "batch": (["samestream", "duckdb", "polars", "spark", "flink"], list(WORKS)),
    "stream": (["samestream", "flink", "spark", "bytewax", "pathway"], ["pages", "hops", "sessions"]),
}
# How often a service does a job before the run that counts as warm: the first of them is the cold one.
WARM_UP = 2


def load(name):
    """Returns an engine's module."""
    return importlib.import_module(f"engines.{name}")
