#!/usr/bin/env python3
"""Kills a stream again and again while records come, and looks for each of them afterwards (`shadow.py` says how).

    python3 tests/cycles.py SAMESTREAM FOLDER [--cycles N] [--restarts N] [--rate N] [--seed N]

Needs the broker of `tests/services/kafka.sh` (environment KAFKA_PORT). In each cycle the stream is started, makes a
checkpoint, and is killed with SIGKILL at some moment; in every third cycle it is stopped with SIGSTOP first and goes on for a
while; in the first `--restarts` cycles the broker, which holds the log, the rows and the coordinators of both, is stopped and
started under it.

Recovery is the time from the start of a process to its first checkpoint, which the sinks publish then.

Last answers (November 2026, 2 shared cores, a development build): 5 cycles, 340,107 records, 5 of 5 starts led to a newer
checkpoint, recovery median 1.70 s, at most 2.04 s, every record once; 65 s.
"""
import argparse, signal, statistics, time
import shadow

parser = shadow.arguments(argparse.ArgumentParser())
parser.add_argument("--cycles", type=int, default=5)
parser.add_argument("--restarts", type=int, default=0, help="in how many cycles the broker is started again, too")
options = parser.parse_args()
world = shadow.World(options)
world.begin()

chance = world.chance
newer, sleeps, recoveries, last = 0, 0, [], 0
for cycle in range(options.cycles):
    child = world.start()
    recovery = world.wait_for_newer(child, last)
    if cycle > 0:
        recoveries.append(recovery)
    time.sleep(chance.random() * 0.8)
    if cycle < options.restarts:
        world.broker("stop")
        gone = world.checkpoint()
        world.broker("start")
        world.wait_for_newer(child, gone + 1, 120)
    if cycle % 3 == 2:
        sleeps += 1
        child.send_signal(signal.SIGSTOP)
        time.sleep(chance.uniform(0.5, 2.0))
        child.send_signal(signal.SIGCONT)
        time.sleep(chance.random() * 0.5)
    child.kill()
    child.wait()
    now = world.checkpoint()
    newer += now > last
    last = now

world.result(
    f"{options.cycles} cycles ({sleeps} with a stop before, {min(options.restarts, options.cycles)} with a restart of the broker), "
    f"{newer} of {options.cycles} starts led to a newer checkpoint; recovery median {statistics.median(recoveries or [0]):.2f} s, "
    f"at most {max(recoveries or [0]):.2f} s"
)
if newer * 5 < options.cycles * 4:
    world.fail(f"only {newer} of {options.cycles} starts found a newer checkpoint than the last: the kills say little")
