#!/usr/bin/env python3
"""Lets a sink take rows slowly, then not at all, while records come, and looks for each of them afterwards (`shadow.py` says how).

    python3 tests/slow.py SAMESTREAM FOLDER [--slow S] [--stuck S] [--share P] [--budget MIB] [--toxiproxy FILE] [--rate N] [--seed N]

Needs the broker of `tests/services/kafka.sh` (environment KAFKA_PORT) and toxiproxy (`toxics.py`), which stands before the sinks
only. For `--slow` seconds what the sinks may send is `--share` of a hundred of what comes in; then for `--stuck` seconds nothing
goes through. Asked is: that reading stops within five seconds of the latter, that memory stays below `--budget` all the time, that
the lag which is told afterwards is the topic's, and that every record is there once. A stream that ends meanwhile must end with
exit code 4, and is started again.

Last answer (November 2026, 2 shared and busy cores, a development build, `--slow 40 --stuck 15 --rate 6000`): memory 101 MiB before, at most 111
while slow and 137 in all, 443,420 records, every record once; 126 s.
"""
import argparse, os, re, threading, time, urllib.request
import shadow, toxics

parser = shadow.arguments(argparse.ArgumentParser())
parser.set_defaults(rate=10_000)
parser.add_argument("--slow", type=float, default=60)
parser.add_argument("--stuck", type=float, default=20)
parser.add_argument("--share", type=float, default=1, help="of a hundred")
parser.add_argument("--budget", type=float, default=400, help="MiB")
parser.add_argument("--toxiproxy")
options = parser.parse_args()
port = int(os.environ["KAFKA_PORT"])
METRICS = f"127.0.0.1:{port + 9}"
RECORD = 75  # bytes of a record, about

world = shadow.World(options, seen_by_sinks=f"127.0.0.1:{port + 6}", settings=", transaction_timeout: 30s")
network = toxics.Network(options.toxiproxy, port + 7, world.folder, {"sinks": (f"127.0.0.1:{port + 6}", f"127.0.0.1:{port + 5}")})


def start():
    return world.start("--metrics", METRICS)


def numbers(name):
    """Returns the sum of a metric; None: nobody answers."""
    try:
        text = urllib.request.urlopen(f"http://{METRICS}/metrics", timeout=5).read().decode()
    except OSError:
        return None
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))


class Memory(threading.Thread):
    """The most that the stream has occupied."""

    def __init__(self):
        super().__init__(daemon=True)
        self.most = 0

    def run(self):
        while True:
            try:
                with open(f"/proc/{child.pid}/status") as file:
                    found = re.search(r"VmRSS:\s+(\d+)", file.read())
                self.most = max(self.most, int(found.group(1)) / 1024 if found else 0)
            except OSError:
                pass
            time.sleep(0.1)


ended = 0


def looked_after(seconds):
    """Waits, and starts a stream again that says that it may be."""
    global child, ended
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        code = child.poll()
        if code is not None:
            if code != 4:
                world.fail(f"the stream ended with {code}: {world.said()}")
            ended += 1
            child = start()
        time.sleep(0.1)


world.begin()
child = start()
world.wait_for_newer(child, 3)
memory = Memory()
memory.start()
looked_after(3)
before = memory.most
rate = max(1, round(options.rate * RECORD * options.share / 100 / 1024))
network.poison("bandwidth", "upstream", {"rate": rate})
looked_after(options.slow)
network.heal()
slow = memory.most
looked_after(5)
network.poison("timeout", "upstream", {"timeout": 0})
looked_after(5)
read = numbers("samestream_source_records_total")
looked_after(max(0, options.stuck - 5))
goes_on = numbers("samestream_source_records_total")
stuck = memory.most
network.heal()
if ended == 0 and read != goes_on:
    world.fail(f"five seconds after the sinks were stuck {read:.0f} records were read, and later {goes_on:.0f}")

# It catches up; then its lag is that of the topic.
world.producer.over.set()
world.producer.join(180)
until = time.monotonic() + 180
while True:
    looked_after(1)
    lag, offsets, end = numbers("samestream_source_lag_records"), numbers("samestream_source_offset"), world.end_offsets(world.topic)
    if offsets == end:
        break
    if time.monotonic() > until:
        world.fail(f"the stream does not catch up: {offsets} of {end}, {world.said()}")
looked_after(3)
lag = numbers("samestream_source_lag_records")
if lag != 0:
    world.fail(f"all {end} records are read, and the lag is told to be {lag}")
child.kill()
child.wait()
if memory.most > options.budget:
    world.fail(f"{memory.most:.0f} MiB of memory were taken, {options.budget:.0f} are allowed")
world.result(
    f"sinks at {rate} KiB/s ({options.share:g} % of the input) for {options.slow:.0f} s, then stuck for {options.stuck:.0f} s; memory {before:.0f} MiB before, "
    f"at most {slow:.0f} while slow, {stuck:.0f} until the end of stuck, {memory.most:.0f} in all; {ended} times the stream ended with exit code 4"
)
