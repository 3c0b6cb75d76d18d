#!/usr/bin/env python3
"""How much CPU does a row cost in batch, beside DuckDB and Polars on the same files in the same run?

    python3 benches/batch.py [--events 10000000] [--runs 5] [--work DIR] [--samestream target/release/samestream]

Needs `pip install duckdb polars`. Makes a lake with `samestream gen` once, then runs each engine as a whole process,
one after the other, --runs times; prints the medians of CPU (user + system) per row, wall time and peak memory. All
read Parquet and write Parquet.

Last answer (November 2026, 2 shared cores, 10 M events, median of 3): samestream 90.4 CPU ns/row and 73 MiB, DuckDB 2.0
110.9 and 121 MiB, Polars 111.9 and 379 MiB. The peers add floats inexactly and drop nothing; samestream judges lateness, sums exactly.
"""
import argparse, os, shutil, statistics, subprocess, sys, time

parser = argparse.ArgumentParser()
parser.add_argument("--events", type=int, default=10_000_000)
parser.add_argument("--runs", type=int, default=5)
parser.add_argument("--work", default="bench")
parser.add_argument("--samestream", default="target/release/samestream")
parser.add_argument("--key", default="page")
args = parser.parse_args()
here = os.path.dirname(os.path.abspath(__file__))
lake, out = f"{args.work}/lake-{args.events}", f"{args.work}/out"
if not os.path.isdir(lake):
    subprocess.run([args.samestream, "gen", "--to", f"lake:{lake}", "--events", str(args.events), "--partitions", "4",
                    "--bad", "0%", "--duplicates", "0%"], check=True)

SELECT = f"""select {args.key}, time_bucket(interval 1 minute, event_time) as window_start, count(*) as events, sum(amount)
as revenue, min(amount) as least, max(amount) as best, avg(amount) as mean from read_parquet('{lake}/*/*.parquet')
group by all"""
DUCKDB = f"""import duckdb; db = duckdb.connect(); db.execute("set threads = 2")
db.execute(\"\"\"copy ({SELECT}) to '{out}-duckdb.parquet' (format parquet, compression zstd)\"\"\")"""
POLARS = f"""import polars as pl
lazy = pl.scan_parquet('{lake}/*/*.parquet').group_by('{args.key}', pl.col('event_time').dt.truncate('1m').alias('window_start'))
c = pl.col('amount')
lazy.agg(pl.len().alias('events'), c.sum().alias('revenue'), c.min().alias('least'), c.max().alias('best'), c.mean().alias('mean')
).sink_parquet('{out}-polars.parquet', compression='zstd')"""
environment = dict(os.environ, LAKE=lake, OUT=f"{out}-samestream", POLARS_MAX_THREADS="2")
engines = {
    "samestream": [args.samestream, "run", f"{here}/q1.yaml", "--mode", "batch", "--threads", "2", "--state-dir", f"{args.work}/state", "-q"],
    "duckdb": [sys.executable, "-c", DUCKDB],
    "polars": [sys.executable, "-c", POLARS],
}
taken = {name: [] for name in engines}
for _ in range(args.runs):
    for name, command in engines.items():
        began = time.monotonic()
        child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        if status != 0:
            sys.exit(f"{name} failed")
        taken[name].append((usage.ru_utime + usage.ru_stime, time.monotonic() - began, usage.ru_maxrss / 1024))
print(f"{args.events:,} events, median of {args.runs} runs")
print(f"{'engine':<12}{'CPU ns/row':>12}{'CPU s':>9}{'wall s':>9}{'peak MiB':>10}{'CPU / ours':>12}")
ours = statistics.median(cpu for cpu, _, _ in taken["samestream"])
for name, runs in taken.items():
    cpu, wall, memory = (statistics.median(column) for column in zip(*runs))
    print(f"{name:<12}{cpu / args.events * 1e9:>12.1f}{cpu:>9.2f}{wall:>9.2f}{memory:>10.0f}{cpu / ours:>12.2f}")
