#!/usr/bin/env python3
"""What does a record cost, beside the peers, in the same run, on the same files and the same topic?

    python3 benches/peers.py batch [WORK ...] [--events 10000000] [--runs 5] [--keys 100000] [--engines samestream,duckdb,polars,spark,flink]
    python3 benches/peers.py stream [WORK ...] --brokers 127.0.0.1:19092 [--engines samestream,flink,spark,bytewax,pathway]

Works: pages, users, hops, sessions, distinct, top, quantile; a stream: pages, hops, sessions. Installs the peers below --work at
the first call (PyPI, Maven Central; 3 GB with all of them) and makes the log with `samestream gen` (--keys users, 500 pages, 1,000
events a second, 1 % late). Each run asks every engine once, one after the other; what is printed are medians over the runs.
benches/README.md has the last tables and what they mean.
"""
import os, sys

import bench, engines, measure

COLUMNS = ["work", "engine", "events / CPU s", "CPU ns/event", "CPU s", "wall s", "peak MiB", "rows", "CPU / ours"]


def main():
    parser = bench.arguments(__doc__)
    parser.add_argument("mode", choices=engines.MODES)
    parser.add_argument("works", nargs="*", metavar="WORK")
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--engines")
    parser.add_argument("--keys", type=int, default=100_000, help="how many users there are (default: 100000)")
    options = parser.parse_args()
    names, works = engines.MODES[options.mode]
    names, works = options.engines.split(",") if options.engines else names, options.works or works
    here = bench.begin(options, names)
    name = f"users-{options.events}" if options.keys == 100_000 else f"keys-{options.events}-{options.keys}"
    log = here.log(name, options.events, "--keys", str(options.keys), topic=options.mode == "stream")
    print(f"{options.mode}, {log.events:,} events, medians of {options.runs} runs; {measure.machine()}\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    for work in works:
        table(options, work, *ask(here, options, log, work, [name for name in names if can(name, options.mode, work)]))
    print(f"\n{measure.machine()}")


def can(name, mode, work):
    engine = engines.load(name)
    return work in (engine.BATCH if mode == "batch" else engine.STREAM)


def ask(here, options, log, work, names):
    """Asks every engine once a run; returns all costs by engine and how, and how many rows each wrote."""
    costs, rows, failed = {}, {}, set()
    for _ in range(options.runs):
        for name in [name for name in names if name not in failed]:
            out = here.empty(f"out-{name}")
            try:
                taken = getattr(engines.load(name), options.mode)(here, work, log, out if options.mode == "batch" else None)
            except measure.Failed as error:
                failed.add(name)
                print(f"{work}: {name}: {error}", file=sys.stderr)
                continue
            rows[name] = bench.rows(out) if os.path.exists(out) else None
            for how, cost in taken.items():
                costs.setdefault((name, how), []).append(cost)
    return costs, rows


def table(options, work, costs, rows):
    """Prints the rows of one work."""
    ours = measure.medians(costs["samestream", ""]).cpu_s if ("samestream", "") in costs else None
    for (name, how), runs in costs.items():
        cost = measure.medians(runs)
        cells = [work, f"{name}, {how}" if how else name, f"{options.events / cost.cpu_s:,.0f}", f"{cost.cpu_s / options.events * 1e9:,.0f}",
                 f"{cost.cpu_s:.2f}", f"{cost.wall_s:.2f}", f"{cost.peak_mib:,.0f}",
                 "–" if rows[name] is None else f"{rows[name]:,}", "–" if ours is None else f"{cost.cpu_s / ours:.2f}"]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
