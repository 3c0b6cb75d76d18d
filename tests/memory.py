#!/usr/bin/env python3
"""Checks the memory of whole runs.

    python3 tests/memory.py SAMESTREAM FOLDER [EVENTS]

1. The memory of a batch run follows the open windows, not the length of history: of two lakes, one ten times as long as
   the other, the longer may need 1.2 times as much memory at most (benches/q1.yaml).
2. `--memory` is kept: a group for every record, all windows open at once (benches/keys.yaml), with a budget that is a
   fraction of what the run takes without one. Its peak may be the budget, 15 % of it, and what the program takes anyway,
   which is the lesser peak of part 1. The results are those of the run without a budget. In both modes.

Last answers (November 2026, 2 shared cores): 1. 1.13, 1.08, 1.12 from 4 M to 40 M events, 70 to 79 MiB. 2. (cargo's dev
profile, a busy machine) batch, 4,000,000 groups: 851 MiB, 15.6 s; 307 MiB, 23.5 s with 246 MiB, of 395 MiB at most; stream,
1,000,000 groups: 276 MiB, 11.3 s; 108 MiB, 12.9 s with 54 MiB, of 174 MiB at most.
"""
import json, os, subprocess, sys, time

samestream, folder = sys.argv[1:3]
events = int(sys.argv[3]) if len(sys.argv) > 3 else 4_000_000
benches = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "benches")


def gen(to, size):
    subprocess.run([samestream, "gen", "--to", to, "--events", str(size), "-q"], check=True)


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


failed = False
peaks = []
for size in (events, 10 * events):
    lake = f"{folder}/lake-{size}"
    gen(f"lake:{lake}", size)
    peaks.append(run("q1.yaml", f"q1-{size}", "--mode", "batch", "--threads", "2", LAKE=lake)[0])
ratio = peaks[1] / peaks[0]
print(f"{events:,} events: {peaks[0]:.0f} MiB; {10 * events:,} events: {peaks[1]:.0f} MiB; ratio {ratio:.2f}")
failed |= ratio >= 1.2

base = min(peaks)
journal = f"{folder}/journal"
gen(f"journal:{journal}", events // 4)
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
sys.exit(1 if failed else 0)
