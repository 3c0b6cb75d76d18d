#!/usr/bin/env python3
"""Checks that the memory of a batch run follows the open windows, not the length of history.

    python3 tests/memory.py SAMESTREAM FOLDER [EVENTS]

Makes two lakes, one ten times as long as the other, runs benches/q1.yaml over each as a whole process, and compares
the peaks of resident memory: the longer log may need 1.2 times as much at most.

Last answers (November 2026, 2 shared cores): 1.13, 1.08, 1.12 from 4 M to 40 M events, 70 to 79 MiB.
"""
import os, subprocess, sys

samestream, folder = sys.argv[1:3]
events = int(sys.argv[3]) if len(sys.argv) > 3 else 4_000_000
pipeline = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "benches", "q1.yaml")
peaks = []
for size in (events, 10 * events):
    lake = f"{folder}/lake-{size}"
    subprocess.run([samestream, "gen", "--to", f"lake:{lake}", "--events", str(size), "-q"], check=True)
    command = [samestream, "run", pipeline, "--mode", "batch", "--threads", "2", "-q", "--state-dir", f"{folder}/state"]
    child = subprocess.Popen(command, env=dict(os.environ, LAKE=lake, OUT=f"{folder}/out"))
    _, status, usage = os.wait4(child.pid, 0)
    if status != 0:
        sys.exit("the run failed")
    peaks.append(usage.ru_maxrss / 1024)
ratio = peaks[1] / peaks[0]
print(f"{events:,} events: {peaks[0]:.0f} MiB; {10 * events:,} events: {peaks[1]:.0f} MiB; ratio {ratio:.2f}")
sys.exit(0 if ratio < 1.2 else 1)
