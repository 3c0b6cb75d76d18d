#!/usr/bin/env python3
"""Checks the flights result against an independent engine: DuckDB over the same Parquet, with the law written as SQL.

    python3 tests/oracle/flights.py LAKE RESULT [--late FOLDER]

LAKE is data/flights, RESULT the folder that the sink of pipelines/flights.yaml wrote (Parquet). The law in one
sentence: a flight is late for its hour when the hour ended at or before the largest scheduled time of the flights
before it at the same airport (its partition), less 30 minutes. Float sums are compared with math.fsum, bit for bit.
"""
import argparse, math, struct, sys
import duckdb  # and pytz, for its times with zones

arguments = argparse.ArgumentParser(description=__doc__)
arguments.add_argument("lake")
arguments.add_argument("result")
arguments.add_argument("--late")
args = arguments.parse_args()

db = duckdb.connect()
db.execute("SET TimeZone = 'UTC'")
db.execute(f"""
create table judged as
with log as (
  select _partition, _offset, carrier, arr_delay, speed_mph, event_time,
         max(event_time) over (partition by _partition order by _offset
                               rows between unbounded preceding and 1 preceding) - interval 30 minutes as watermark
  from read_parquet('{args.lake}/partition=*/*.parquet', hive_partitioning = false)
)
select *, date_trunc('hour', event_time) as window_start,
       watermark is not null and date_trunc('hour', event_time) + interval 1 hour <= watermark as is_late
from log
""")
frontier = db.execute(
    "select min(m) from (select max(event_time) - interval 30 minutes as m from judged group by _partition)"
).fetchone()[0]
rows = db.execute("""
select window_start, carrier, count(*), list(arr_delay), list(speed_mph), min(arr_delay), max(speed_mph)
from judged where not is_late group by all
""").fetchall()


def bits(x):
    return None if x is None else struct.pack("<d", 0.0 if x == 0 else x)


expected = {}
for start, carrier, departures, delays, speeds, _, _ in rows:
    delays = [x for x in delays if x is not None]
    speeds = [x for x in speeds if x is not None]
    delay_sum = math.fsum(delays) if delays else None
    speed_sum = math.fsum(speeds) if speeds else None
    expected[(start, carrier)] = (
        departures,
        bits(delay_sum), bits(delay_sum / len(delays) if delays else None),
        bits(speed_sum), bits(speed_sum / len(speeds) if speeds else None),
        (start.timestamp() + 3600) <= frontier.timestamp(),
    )

found = {
    (start, carrier): (departures, bits(ds), bits(dm), bits(ss), bits(sm), final)
    for start, carrier, departures, ds, dm, ss, sm, final in db.execute(f"""
        select window_start, carrier, departures, arr_delay_sum, arr_delay_mean, speed_sum, speed_mean, final
        from read_parquet('{args.result}/*.parquet')""").fetchall()
}
wrong = [key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key)]
for key in sorted(wrong)[:5]:
    print("differs:", key, "expected", expected.get(key), "found", found.get(key), file=sys.stderr)

late = db.execute("select count(*) from judged where is_late").fetchone()[0]
if args.late:
    kept = {tuple(row) for row in db.execute(
        f"select _partition, _offset from read_parquet('{args.late}/*.parquet')").fetchall()}
    meant = {tuple(row) for row in db.execute("select _partition, _offset from judged where is_late").fetchall()}
    if kept != meant:
        print(f"late sets differ: {len(kept - meant)} too many, {len(meant - kept)} missing", file=sys.stderr)
        wrong.append("late")
finals = sum(1 for row in expected.values() if row[-1])
print(f"{len(expected)} rows, {finals} final, {late} late flights; {len(wrong)} differences")
sys.exit(1 if wrong or not late or not finals else 0)
