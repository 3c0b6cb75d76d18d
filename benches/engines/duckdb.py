"""DuckDB in batch: SQL over the Parquet files. It drops nothing as late and adds floats in the order in which they come."""
import sys

import measure
from bench import THREADS

PACKAGES, JARS, JARS_ALONE = ["duckdb==2.0.0"], [], False
MINUTE = "time_bucket(interval 1 minute, event_time)"
FIGURES = "count(*) as events, sum(amount) as revenue, min(amount) as least, max(amount) as best, avg(amount) as mean"
BATCH = {
    "pages": f"select page, {MINUTE} as window_start, {FIGURES} from lake group by all",
    "users": f"select user_id, {MINUTE} as window_start, {FIGURES} from lake group by all",
    # Counted by minute first: five times as few rows go into the larger table.
    "hops": f"""with minutes as (select user_id, {MINUTE} as minute, count(*) as n from lake group by all)
        select user_id, minute - to_minutes(i) as window_start, sum(n)::bigint as events from minutes, range(5) r(i) group by all""",
    "sessions": """with begun as (select user_id, event_time, amount, coalesce(event_time - lag(event_time) over w >= interval 30 second, true) as is_new
            from lake window w as (partition by user_id order by event_time)),
        numbered as (select *, sum(is_new::int) over (partition by user_id order by event_time rows unbounded preceding) as session from begun)
        select user_id, min(event_time) as window_start, max(event_time) + interval 30 second as window_end, count(*) as events,
        sum(amount) as revenue from numbered group by user_id, session""",
    "distinct": f"select page, {MINUTE} as window_start, count(distinct user_id) as users from lake group by all",
    "top": f"""with sums as (select page, {MINUTE} as window_start, sum(amount) as revenue from lake group by all)
        select * from sums qualify row_number() over (partition by window_start order by revenue desc, page) <= 10""",
    "quantile": f"select page, {MINUTE} as window_start, quantile_cont(amount, 0.5) as middle from lake group by all",
}
STREAM = {}


def batch(bench, work, log, out):
    return {"": measure.whole(bench.module(__name__, work, log.lake, out), bench.path("duckdb.log"))}


def main(work, lake, out):
    import duckdb

    database = duckdb.connect()
    database.execute(f"set threads = {THREADS}; set TimeZone = 'UTC'; set enable_progress_bar = false")
    database.execute(f"create view lake as from read_parquet('{lake}/*/*.parquet')")
    database.execute(f"copy ({BATCH[work]}) to '{out}' (format parquet, compression zstd, compression_level 1)")


if __name__ == "__main__":
    main(*sys.argv[1:])
