#!/usr/bin/env python3
"""Does time grow with the rows alone, memory with the open windows alone, and does a second core help?

    python3 benches/growth.py [rows] [keys] [partitions] [cores] [groups] [backfill] [--events 10000000] [--runs 3]

All by default, the last one where --brokers are given, each a table; batch unless it says otherwise, two threads, medians of --runs.

rows        a tenth of --events, as many, ten times as many: pages (500 groups a minute) and users (100,000 users)
keys        1,000 to --events users over the same number of rows
partitions  1, 4, 16 and 64 of them
cores       one thread and two, in turn, over four partitions and over one: how many times as fast by wall time, and the CPU it costs
groups      a stream over a journal with a group for every record, a count and an exact sum of each, in one window that stays open: what
            the process occupies when all is read, and at most, per group; and the same less what a run with 500 groups occupies
backfill    pages of the same records from a topic by a stream, and from their lake in batch, in turn: how many times as fast batch is
"""
import re, signal, socket, subprocess, sys, time, urllib.request

import bench, measure
from engines import samestream

CLICKS = ["--keys", "100000"]


def main():
    parser = bench.arguments(__doc__)
    parser.add_argument("tables", nargs="*", metavar="TABLE")
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    here = bench.begin(options, ["samestream"])
    print(f"{measure.machine()}\n")
    for table in options.tables or [table for table in TABLES if table != "backfill" or here.brokers]:
        TABLES[table](here, options.events, options.runs)
        print(flush=True)
    print(measure.machine())


def of_rows(here, events, runs):
    head("rows", "work")
    for work in ("pages", "users"):
        for count in (events // 10, events, events * 10):
            row(here, runs, work, here.log(f"users-{count}", count, *CLICKS), f"{count:,} | {work}")


def of_keys(here, events, runs):
    head("users of " + f"{events:,} rows", "work")
    count = 1000
    while count <= events:
        row(here, runs, "users", here.log(f"keys-{events}-{count}", events, "--keys", str(count)), f"{count:,} | users")
        count *= 10


def of_partitions(here, events, runs):
    head("partitions", "work")
    for count in (1, 4, 16, 64):
        row(here, runs, "pages", here.log(f"partitions-{events}-{count}", events, *CLICKS, partitions=count), f"{count} | pages")


def head(*names):
    print(f"| {' | '.join(names)} | CPU ns/row | wall ns/row | peak MiB | rows written |\n|{'---|' * (len(names) + 4)}", flush=True)


def row(here, runs, work, log, label):
    """Measures one job and prints its row."""
    out = here.path("out-growth")
    cost = measure.medians([samestream.batch(here, work, log, here.empty("out-growth"))[""] for _ in range(runs)])
    print(f"| {label} | {cost.cpu_s / log.events * 1e9:.0f} | {cost.wall_s / log.events * 1e9:.0f} | {cost.peak_mib:,.0f} | {bench.rows(out):,} |", flush=True)


def of_cores(here, events, runs):
    print("| partitions | work | wall s, 1 thread | 2 threads | times as fast | CPU s, 1 thread | 2 threads |\n|---|---|---|---|---|---|---|", flush=True)
    for partitions in (4, 1):
        log = here.log(f"partitions-{events}-{partitions}", events, *CLICKS, partitions=partitions)
        for work in ("pages", "users", "hops", "sessions"):
            taken = {1: [], 2: []}
            for _ in range(runs):
                for threads, costs in taken.items():
                    costs.append(samestream.batch(here, work, log, here.empty("out-growth"), threads)[""])
            one, two = (measure.medians(costs) for costs in taken.values())
            print(f"| {partitions} | {work} | {one.wall_s:.2f} | {two.wall_s:.2f} | {one.wall_s / two.wall_s:.2f} | {one.cpu_s:.2f} | {two.cpu_s:.2f} |", flush=True)


def of_backfill(here, events, runs):
    log = here.log(f"users-{events}", events, *CLICKS, topic=True)
    taken = {"stream": [], "batch": []}
    for _ in range(runs):
        for mode, costs in taken.items():
            costs.append(getattr(samestream, mode)(here, "pages", log, here.empty("out-growth"))[""])
    print("| pages | CPU ns/event | wall ns/event | peak MiB |\n|---|---|---|---|")
    stream, batch = (measure.medians(costs) for costs in taken.values())
    for name, cost in {"stream, from a topic": stream, "batch, from its lake": batch}.items():
        print(f"| {name} | {cost.cpu_s / events * 1e9:.0f} | {cost.wall_s / events * 1e9:.0f} | {cost.peak_mib:,.0f} |")
    print(f"| stream / batch | {stream.cpu_s / batch.cpu_s:.1f} | {stream.wall_s / batch.wall_s:.1f} | |", flush=True)


GROUPS = """version: 1
name: groups
sources:
  clicks:
    journal: {{path: "{journal}"}}
    schema: {{event_id: string!, page: string!, amount: float64, event_time: timestamp!}}
    event_time: {{column: event_time, out_of_orderness: 2h}}
steps:
  groups:
    from: clicks
    window: {{tumbling: {{size: 3650d}}}}
    group_by: [{{key: "{key}"}}]
    aggregate: {{events: "count(*)", revenue: "sum(amount)"}}
  all: {{from: groups, window: same, aggregate: {{groups: "count(*)"}}}}
sinks:
  all: {{from: all, jsonl: {{path: "{out}"}}}}
"""


def of_groups(here, events, runs):
    journal = here.path(f"journal-{events}")
    here.make(f"journal-{events}", f"journal:{journal}", events)
    print("| key | groups | resident MiB | peak MiB | bytes a group: resident | peak | resident less the base |\n|---|---|---|---|---|---|---|", flush=True)
    base, _, _ = occupied(here, journal, "page")
    for name, key in {"int64": "xxh3_64(event_id)", "text of 16 characters": "event_id"}.items():
        resident, peak, groups = occupied(here, journal, key)
        per_group = lambda mib: f"{mib * 2**20 / groups:.0f}"
        print(f"| {name} | {groups:,} | {resident:,.0f} | {peak:,.0f} | {per_group(resident)} | {per_group(peak)} | {per_group(resident - base)} |", flush=True)


def occupied(here, journal, key):
    """Returns the MiB that a stream occupies when it has read all, the most that it did, and how many groups it holds."""
    with open(here.path("groups.yaml"), "w") as file:
        file.write(GROUPS.format(journal=journal, key=key, out=here.path("out-groups")))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with open(here.path("groups.log"), "w") as log:
        child = subprocess.Popen([here.samestream, "run", here.path("groups.yaml"), "--mode", "stream", "-q", "--checkpoint-every", "1h",
                                  "--state-dir", here.empty("groups-state"), "--metrics", address], stdout=log, stderr=log)
    try:
        while not answer(address, "readyz"):
            if child.poll() is not None:
                raise measure.Failed(["samestream"], here.path("groups.log"))
            time.sleep(0.2)
        # The driver leaves its numbers about once a second.
        time.sleep(3)
        groups = int(float(re.search(r'^samestream_state_keys{[^}]*step="groups"[^}]*} (\S+)$', answer(address, "metrics"), re.M)[1]))
        return measure.resident_mib([child.pid]), measure.peak_mib([child.pid]), groups
    finally:
        # What it would write at its end is of no interest.
        child.send_signal(signal.SIGKILL)
        child.wait()


def answer(address, path):
    """Returns what a stream answers, or nothing while it does not."""
    try:
        with urllib.request.urlopen(f"http://{address}/{path}", timeout=10) as reply:
            return reply.read().decode() or "yes"
    except OSError:
        return None


TABLES = {"rows": of_rows, "keys": of_keys, "partitions": of_partitions, "cores": of_cores, "groups": of_groups, "backfill": of_backfill}

if __name__ == "__main__":
    main()
