#!/usr/bin/env python3
"""How much CPU does a row cost in batch, beside DuckDB and Polars on the same files in the same run?

    python3 benches/batch.py [WORK ...] [--events 10000000] [--runs 5] [--work DIR] [--samestream target/release/samestream]

Works: pages, users, hops, sessions, distinct, top, quantile; all of them by default. Needs `pip install duckdb polars`.

Makes a lake with `samestream gen` once (100,000 users, 500 pages, 1,000 events a second, 1 % late), then runs each engine as a
whole process, one after the other, --runs times; prints the medians of CPU (user + system) per row, wall time and peak memory,
and how many rows came out. All read Parquet and write Parquet, zstd both. The peers are asked in the best way we found; they add
floats inexactly and drop nothing, samestream judges lateness and sums exactly, so its rows may be a few less.

Last answer (November 2026, 2 shared cores, 10 M events, medians of 3): CPU of DuckDB 2.0 and of Polars 2.1 over ours
pages 1.26 and 1.23, users 1.12 and 0.89, hops 1.18 and 0.98, sessions 1.47 and 1.41, distinct 2.41 and 1.17, top 1.57 and 1.42,
quantile 1.40 and 2.04; ours 139, 442, 609, 736, 171, 107 and 153 CPU ns/row with 68 to 250 MiB (they: 120 to 1,371). By wall time
ours is behind both in users and hops: there it does not yet keep two cores busy.
"""
import argparse, glob, os, statistics, subprocess, sys, time
from dataclasses import dataclass


@dataclass
class Work:
    """One question, as each engine is asked. `lake` stands for the files."""

    about: str
    step: str
    sql: str
    polars: str


MINUTE = "time_bucket(interval 1 minute, event_time)"
FIGURES = "count(*) as events, sum(amount) as revenue, min(amount) as least, max(amount) as best, avg(amount) as mean"
FIGURES_POLARS = "pl.len().alias('events'), a.sum().alias('revenue'), a.min().alias('least'), a.max().alias('best'), a.mean().alias('mean')"
FIGURES_STEP = '{events: "count(*)", revenue: "sum(amount)", least: "min(amount)", best: "max(amount)", mean: "avg(amount)"}'
MINUTE_POLARS = "pl.col('event_time').dt.truncate('1m').alias('window_start')"
WORKS = {
    "pages": Work(
        "count, sum, least, greatest and mean by page and minute",
        "{from: clicks, window: {tumbling: {size: 1m}}, group_by: [page], aggregate: %s}" % FIGURES_STEP,
        f"select page, {MINUTE} as window_start, {FIGURES} from lake group by all",
        f"lake.group_by('page', {MINUTE_POLARS}).agg({FIGURES_POLARS})",
    ),
    "users": Work(
        "the same by user and minute",
        "{from: clicks, window: {tumbling: {size: 1m}}, group_by: [user_id], aggregate: %s}" % FIGURES_STEP,
        f"select user_id, {MINUTE} as window_start, {FIGURES} from lake group by all",
        f"lake.group_by('user_id', {MINUTE_POLARS}).agg({FIGURES_POLARS})",
    ),
    "hops": Work(
        "count by user over five minutes, every minute",
        '{from: clicks, window: {hopping: {size: 5m, every: 1m}}, group_by: [user_id], aggregate: {events: "count(*)"}}',
        f"""with minutes as (select user_id, {MINUTE} as minute, count(*) as n from lake group by all)
        select user_id, minute - to_minutes(i) as window_start, sum(n)::bigint as events from minutes, range(5) r(i) group by all""",
        f"""(lake.group_by('user_id', {MINUTE_POLARS}).agg(pl.len().alias('n')).join(pl.LazyFrame({{'i': [0, 1, 2, 3, 4]}}), how='cross')
        .group_by('user_id', (pl.col('window_start') - pl.duration(minutes=pl.col('i'))).alias('window_start')).agg(pl.col('n').sum().alias('events')))""",
    ),
    "sessions": Work(
        "count and duration by user, sessions that end after 30 s of silence",
        '{from: clicks, window: {session: {gap: 30s}}, group_by: [user_id], aggregate: {events: "count(*)", revenue: "sum(amount)"}}',
        """with begun as (select user_id, event_time, amount, coalesce(event_time - lag(event_time) over w >= interval 30 second, true) as is_new
        from lake window w as (partition by user_id order by event_time)),
        numbered as (select *, sum(is_new::int) over (partition by user_id order by event_time rows unbounded preceding) as session from begun)
        select user_id, min(event_time) as window_start, max(event_time) + interval 30 second as window_end, count(*) as events,
        sum(amount) as revenue from numbered group by user_id, session""",
        """(lake.select('user_id', 'event_time', 'amount').sort('user_id', 'event_time')
        .with_columns(((pl.col('event_time') - pl.col('event_time').shift(1) >= pl.duration(seconds=30)) | (pl.col('user_id') != pl.col('user_id').shift(1))).fill_null(True).cum_sum().alias('session'))
        .group_by('session').agg(pl.col('user_id').first(), pl.col('event_time').min().alias('window_start'), pl.col('event_time').max().alias('last'), pl.len().alias('events'), pl.col('amount').sum().alias('revenue')))""",
    ),
    "distinct": Work(
        "distinct users by page and minute",
        '{from: clicks, window: {tumbling: {size: 1m}}, group_by: [page], aggregate: {users: "count_distinct(user_id)"}}',
        f"select page, {MINUTE} as window_start, count(distinct user_id) as users from lake group by all",
        f"lake.group_by('page', {MINUTE_POLARS}).agg(pl.col('user_id').n_unique().alias('users'))",
    ),
    "top": Work(
        "the ten pages of each minute with the most revenue",
        '{from: clicks, window: {tumbling: {size: 1m}}, group_by: [page], aggregate: {revenue: "sum(amount)"}, top: {n: 10, by: [{revenue: desc}]}}',
        f"""with sums as (select page, {MINUTE} as window_start, sum(amount) as revenue from lake group by all)
        select * from sums qualify row_number() over (partition by window_start order by revenue desc, page) <= 10""",
        f"""(lake.group_by('page', {MINUTE_POLARS}).agg(a.sum().alias('revenue')).sort('revenue', descending=True)
        .group_by('window_start').head(10))""",
    ),
    "quantile": Work(
        "the exact median amount by page and minute",
        '{from: clicks, window: {tumbling: {size: 1m}}, group_by: [page], aggregate: {middle: "quantile(amount, 0.5)"}}',
        f"select page, {MINUTE} as window_start, quantile_disc(amount, 0.5) as middle from lake group by all",
        f"lake.group_by('page', {MINUTE_POLARS}).agg(a.quantile(0.5, 'nearest').alias('middle'))",
    ),
}

PIPELINE = """version: 1
name: {name}
sources:
  clicks:
    lake: {{path: "{lake}"}}
    format: json
    schema: {{event_id: string!, user_id: int64!, page: string!, action: string, amount: float64, event_time: timestamp!}}
    event_time: {{column: event_time, out_of_orderness: 30s}}
steps:
  result: {step}
sinks:
  result: {{from: result, parquet: {{path: "{out}"}}}}
"""
DUCKDB = """import duckdb; db = duckdb.connect(); db.execute("set threads = 2"); db.execute("set TimeZone = 'UTC'")
db.execute("create view lake as from read_parquet('{lake}/*/*.parquet')")
db.execute(\"\"\"copy ({sql}) to '{out}' (format parquet, compression zstd)\"\"\")"""
POLARS = """import polars as pl
a, lake = pl.col('amount'), pl.scan_parquet('{lake}/*/*.parquet')
({polars}).sink_parquet('{out}', compression='zstd')"""


def rows(path):
    """Returns how many rows a file or the files of a folder hold."""
    import duckdb

    files = [path] if os.path.isfile(path) else glob.glob(f"{path}/**/*.parquet", recursive=True)
    return duckdb.sql(f"select sum(num_rows) from parquet_file_metadata({files})").fetchall()[0][0]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("works", nargs="*", metavar="WORK")
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--work", default="bench")
    parser.add_argument("--samestream", default="target/release/samestream")
    parser.add_argument("--engines", default="samestream,duckdb,polars")
    args = parser.parse_args()
    lake = os.path.abspath(f"{args.work}/users-{args.events}")
    if not os.path.isdir(lake):
        subprocess.run([args.samestream, "gen", "--to", f"lake:{lake}", "--events", str(args.events), "--partitions", "4",
                        "--keys", "100000", "--bad", "0%", "--duplicates", "0%"], check=True)
    print(f"{args.events:,} events, medians of {args.runs} runs")
    print(f"{'work':<10}{'engine':<12}{'CPU ns/row':>12}{'CPU s':>9}{'wall s':>9}{'peak MiB':>10}{'rows':>12}{'CPU / ours':>12}")
    for name in args.works or WORKS:
        work = WORKS[name]
        out = {engine: os.path.abspath(f"{args.work}/out-{engine}" + ("" if engine == "samestream" else ".parquet"))
               for engine in args.engines.split(",")}
        with open(f"{args.work}/{name}.yaml", "w") as file:
            file.write(PIPELINE.format(name=name, lake=lake, step=work.step, out=out.get("samestream")))
        commands = {
            "samestream": [args.samestream, "run", f"{args.work}/{name}.yaml", "--mode", "batch", "--threads", "2", "--state-dir", f"{args.work}/state", "-q"],
            "duckdb": [sys.executable, "-c", DUCKDB.format(lake=lake, sql=work.sql, out=out.get("duckdb"))],
            "polars": [sys.executable, "-c", POLARS.format(lake=lake, polars=work.polars, out=out.get("polars"))],
        }
        taken = {engine: [] for engine in out}
        for _ in range(args.runs):
            for engine in out:
                subprocess.run(["rm", "-rf", out[engine]], check=True)
                began = time.monotonic()
                child = subprocess.Popen(commands[engine], env=dict(os.environ, POLARS_MAX_THREADS="2"), stdout=subprocess.DEVNULL)
                _, status, usage = os.wait4(child.pid, 0)
                if status != 0:
                    sys.exit(f"{engine} failed")
                taken[engine].append((usage.ru_utime + usage.ru_stime, time.monotonic() - began, usage.ru_maxrss / 1024))
        ours = statistics.median(cpu for cpu, _, _ in taken[next(iter(out))])
        for engine, runs in taken.items():
            cpu, wall, memory = (statistics.median(column) for column in zip(*runs))
            print(f"{name:<10}{engine:<12}{cpu / args.events * 1e9:>12.1f}{cpu:>9.2f}{wall:>9.2f}{memory:>10.0f}{rows(out[engine]):>12,}{cpu / ours:>12.2f}", flush=True)


if __name__ == "__main__":
    main()
