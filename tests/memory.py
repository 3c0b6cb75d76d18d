#!/usr/bin/env python3
"""Checks the memory of whole runs.

    python3 tests/memory.py SAMESTREAM FOLDER [EVENTS]

1. The memory of a batch run follows the open windows, not the length of history: of two lakes, one ten times as long as
   the other, the longer may need 1.2 times as much memory at most (benches/q1.yaml).
2. `--memory` is kept: a group for every record, all windows open at once (benches/keys.yaml), with a budget that is a
   fraction of what the run takes without one. Its peak may be the budget, 15 % of it, and what the program takes anyway,
   which is the peak of the shorter lake of part 1. The results are those of the run without a budget. In both modes.

Last answers (November 2026, release, 2 shared cores, busy): 1. 1.12 from 4 M to 40 M events, 79 to 88 MiB. 2. Batch,
4,000,000 groups: 786 MiB without a budget; 211 MiB with one of 235 MiB, of 349 MiB at most; as many CPU seconds. Stream,
1,000,000 groups: 243 MiB; 71 MiB with 54 MiB, of 141 MiB at most.
"""
import json, os, subprocess, sys, time

samestream, folder = sys.argv[1:3]
events = int(sys.argv[3]) if len(sys.argv) > 3 else 4_000_000
benches = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "benches")


def gen(to, size):
    """Begins to make a log."""
    return subprocess.Popen([samestream, "gen", "--to", to, "--events", str(size), "-q"])


def made(*logs):
    if any([log.wait() for log in logs]):
        sys.exit("gen failed")


def run(pipeline, name, *options, **variables):
    """Runs a pipeline as a process of its own; returns its peak in MiB, its seconds and its summary."""
    summary = f"{folder}/{name}.json"
    command = [samestream, "run", os.path.join(benches, pipeline), "-q", "--state-dir", f"{folder}/state-{name}"]
    begun = time.time()
    environment = dict(os.environ, OUT=f"{folder}/out-{name}", **variables)
    child = subprocess.Popen([*command, "--summary", summary, *options], env=environment)
    _, status, usage = os.wait4(child.pid, 0)
    if status != 0:
        sys.exit(f"the run {name} failed")
    return usage.ru_maxrss / 1024, time.time() - begun, json.load(open(summary))


def q1(size):
    """Returns the peak of a batch run over a lake of that size."""
    return run("q1.yaml", f"q1-{size}", "--mode", "batch", "--threads", "2", LAKE=f"{folder}/lake-{size}")[0]


failed = False
journal = f"{folder}/journal"
# The long lake takes longest to make: the rest is done meanwhile.
long = gen(f"lake:{folder}/lake-{10 * events}", 10 * events)
made(gen(f"lake:{folder}/lake-{events}", events), gen(f"journal:{journal}", events // 4))
base = q1(events)
for mode, size, where, options in (
    ("batch", events, {"LAKE": f"{folder}/lake-{events}"}, ["--threads", "2"]),
    ("stream", events // 4, {"JOURNAL": journal}, ["--until-caught-up"]),
):
    free, seconds, whole = run("keys.yaml", f"{mode}-free", "--mode", mode, *options, **where)
    budget = int((free - base) / 3)
    within, slower, found = run("keys.yaml", mode, "--mode", mode, "--memory", f"{budget}MiB", *options, **where)
    limit = budget * 1.15 + base
    spilled = found.get("spilled", {"pieces": 0, "bytes": 0})
    print(
        f"{mode}, {size:,} groups: {free:.0f} MiB, {seconds:.1f} s without a budget; {within:.0f} MiB, {slower:.1f} s with"
        f" {budget} MiB (at most {limit:.0f} MiB; {spilled['pieces']} pieces, {spilled['bytes'] / 2**20:.0f} MiB written)"
    )
    failed |= within > limit or spilled["pieces"] == 0
    for name in ("digest_all", "digest_final", "rows_read", "windows"):
        if whole[name] != found[name]:
            print(f"{name}: {whole[name]} without a budget, {found[name]} with one")
            failed = True
made(long)
peak = q1(10 * events)
print(f"{events:,} events: {base:.0f} MiB; {10 * events:,} events: {peak:.0f} MiB; ratio {peak / base:.2f}")
sys.exit(1 if failed or peak / base >= 1.2 else 0)
