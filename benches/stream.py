#!/usr/bin/env python3
"""How many JSON events per CPU-second does a stream take from a real broker?

    tests/services/kafka.sh start
    python3 benches/stream.py --brokers 127.0.0.1:9092 [--events 5000000] [--runs 3]

Fills a topic with `samestream gen` once, then runs benches/q1.yaml with --until-caught-up as a whole process; prints the
medians of events per CPU-second (user + system of our process; the broker's is not in it), wall time and peak memory.

Last answer (November 2026, 2 shared cores, 3 M events, median of 3): 1,356,275 events per CPU-second, peak 100 MiB.
"""
import argparse, os, statistics, subprocess, sys, time

parser = argparse.ArgumentParser()
parser.add_argument("--brokers", required=True)
parser.add_argument("--topic")
parser.add_argument("--events", type=int, default=5_000_000)
parser.add_argument("--runs", type=int, default=3)
parser.add_argument("--work", default="bench")
parser.add_argument("--samestream", default="target/release/samestream")
args = parser.parse_args()
here = os.path.dirname(os.path.abspath(__file__))
topic = args.topic or f"bench-{args.events}"
marker = f"{args.work}/{topic}.filled"
os.makedirs(args.work, exist_ok=True)
if not os.path.exists(marker):
    subprocess.run([args.samestream, "gen", "--to", f"kafka:{args.brokers}/{topic}", "--events", str(args.events),
                    "--partitions", "4", "--bad", "0%", "--duplicates", "0%"], check=True)
    open(marker, "w").close()
environment = dict(os.environ, BROKERS=args.brokers, TOPIC=topic, OUT=f"{args.work}/out-stream")
command = [args.samestream, "run", f"{here}/q1.yaml", "--mode", "stream", "--until-caught-up", "--fresh", "--state-dir", f"{args.work}/state", "-q"]
taken = []
for _ in range(args.runs):
    began = time.monotonic()
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status != 0:
        sys.exit("samestream failed")
    taken.append((usage.ru_utime + usage.ru_stime, time.monotonic() - began, usage.ru_maxrss / 1024))
cpu, wall, memory = (statistics.median(column) for column in zip(*taken))
print(f"{args.events:,} events, median of {args.runs} runs: {args.events / cpu:,.0f} events per CPU-second, "
      f"{args.events / wall:,.0f} per second of wall time, {cpu / args.events * 1e9:.0f} CPU ns/event, peak {memory:.0f} MiB")
