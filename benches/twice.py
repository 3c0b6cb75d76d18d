#!/usr/bin/env python3
"""Does an engine give the same answer twice?

    python3 benches/twice.py --brokers 127.0.0.1:19092 [--events 2000000] [--late 0.5%] [--engines samestream,flink,…]

A log of which 0.5 % are late, the same records as a topic and as a lake. Each engine counts and sums by page and minute: twice as a stream
over the topic, and in its batch mode over the lake, if it has them. Printed is how many windows differ between two runs, by page and begin
of the window: those that one of them lacks or counts otherwise, and those with the same count whose sums differ in a bit. For samestream
there is one row more: beside what its rule of lateness says by SQL over the lake, with Python's `math.fsum`, which rounds correctly.
"""
import dataclasses, math, struct, sys

import bench, engines, measure

# What is run of each engine: a name, the mode, and options of the engine's module for that run.
RUNS = {
    "samestream": [
        ("stream 1", "stream", {}),
        ("stream 2", "stream", {}),
        ("stream, small fetches", "stream", {"kafka": {"fetch.message.max.bytes": "20000", "queued.min.messages": "500"}}),
        ("batch", "batch", {}),
        ("batch, one thread", "batch", {"threads": 1}),
        ("batch 2", "batch", {}),
    ],
    "flink": [("stream 1", "stream", {"warm_up": 0}), ("stream 2", "stream", {"warm_up": 0}), ("batch", "batch", {"warm_up": 0}), ("batch 2", "batch", {"warm_up": 0})],
    "spark": [
        ("stream 1", "stream", {"warm_up": 0}),
        ("stream 2", "stream", {"warm_up": 0}),
        ("stream, 200,000 events a batch", "stream", {"warm_up": 0, "events_per_batch": 200_000}),
        ("batch", "batch", {"warm_up": 0}),
        ("batch 2", "batch", {"warm_up": 0}),
    ],
    "bytewax": [("stream 1", "stream", {}), ("stream 2", "stream", {})],
    "pathway": [("stream 1", "stream", {}), ("stream 2", "stream", {})],
    "duckdb": [("batch", "batch", {}), ("batch 2", "batch", {})],
    "polars": [("batch", "batch", {}), ("batch 2", "batch", {})],
}


def main():
    parser = bench.arguments(__doc__)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--late", default="0.5%")
    parser.add_argument("--engines", default=",".join(RUNS))
    options = parser.parse_args()
    names = options.engines.split(",")
    here = bench.begin(options, names)
    log = here.log(f"late-{options.events}-{options.late.rstrip('%')}", options.events, "--late", options.late, topic=True)
    print(f"{log.events:,} events, {options.late} late; {measure.machine()}\n")
    print("| engine | runs | windows | missing or other count | same count, other sum | events counted |\n|---|---|---|---|---|---|", flush=True)
    for name in names:
        compare(here, name, log)
    print(f"\n{measure.machine()}")


def compare(here, name, log):
    """Prints the rows of one engine: each later run beside the first, and a second batch run beside the batch run."""
    engine, taken = engines.load(name), {}
    for run, mode, more in RUNS[name]:
        out = here.empty(f"twice-{name}")
        try:
            getattr(engine, mode)(here, "pages", log, out, **more)
        except measure.Failed as error:
            print(f"{name}: {run}: {error}", file=sys.stderr)
            continue
        taken[run] = windows(out)
        other = "batch" if run == "batch 2" else next(iter(taken))
        if run != other:
            print(difference(taken[other], taken[run]).row(name, f"{other} / {run}"), flush=True)
    if name == "samestream":
        print(difference(taken["stream 1"], rule(log)).row(name, "stream 1 / its rule in SQL"), flush=True)


# An event is late when its window ended at or before the greatest event time that came before it in its partition, less 30 s.
RULE = """with judged as (
        select *, time_bucket(interval 1 minute, event_time) as window_start,
            max(event_time) over (partition by _partition order by _offset rows between unbounded preceding and 1 preceding) as newest
        from read_parquet('{lake}/*/*.parquet'))
    select page, window_start::timestamp, count(*), list(amount) filter (where amount is not null) from judged
    where newest is null or window_start + interval 1 minute > newest - interval 30 second group by all"""


def rule(log):
    """Returns count and sum of every window as samestream's rule has it."""
    import duckdb

    duckdb.sql("set TimeZone = 'UTC'; set enable_progress_bar = false")
    rows = duckdb.sql(RULE.format(lake=log.lake)).fetchall()
    return {(page, start): [(count, bits(math.fsum(amounts) if amounts else None))] for page, start, count, amounts in rows}


def windows(out):
    """Returns count and sum of every window in Parquet files; of one that was written more than once, all of them in order."""
    import duckdb

    duckdb.sql("set TimeZone = 'UTC'; set enable_progress_bar = false")
    rows = duckdb.sql(f"select page, window_start::timestamp, events, revenue from read_parquet({bench.files(out)})").fetchall()
    found = {}
    for page, start, events, revenue in rows:
        found.setdefault((page, start), []).append((int(events), bits(revenue)))
    return {window: sorted(figures, key=repr) for window, figures in found.items()}


def bits(number):
    return None if number is None else struct.pack("<d", number)


@dataclasses.dataclass(frozen=True)
class Difference:
    windows: int
    counts: int
    sums: int
    events: tuple[int, int]

    def row(self, name, runs):
        events = f"{self.events[0]:,}" if self.events[0] == self.events[1] else f"{self.events[0]:,} / {self.events[1]:,}"
        return f"| {name} | {runs} | {self.windows:,} | {self.counts:,} | {self.sums:,} | {events} |"


def difference(left, right):
    """Compares two results."""
    pairs = [(left.get(window, []), right.get(window, [])) for window in left.keys() | right.keys()]
    counts = sum([count for count, _ in a] != [count for count, _ in b] for a, b in pairs)
    events = tuple(sum(count for figures in side.values() for count, _ in figures) for side in (left, right))
    return Difference(len(pairs), counts, sum(a != b for a, b in pairs) - counts, events)


if __name__ == "__main__":
    main()
