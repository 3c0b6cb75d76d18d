#!/usr/bin/env python3
"""What does a checkpoint cost, and what does it take to go on from one?

    python3 benches/checkpoint.py [--digits 5 6] [--runs 3] [--work DIR] [--samestream target/release/samestream]

Groups with a count and an exact sum, all in one window that stays open (benches/groups.yaml): 16^5 are 1 M, and of 16^6 a
journal of 20 M records has 11.7 M. For each it measures, as whole processes:

1. throughput: CPU seconds and wall time over a whole journal without checkpoints but the one at its end, and with one
   every second, in turn (medians of --runs); the ratio of events per second, with over without, should be 0.9 at least;
   and of the checkpoints meanwhile, for which reading waits, how many there were and the seconds of the longest;
2. recovery: the wall time of a start that goes on from there and has nothing to read, with its end;
3. the first checkpoint of a stream that has read all: its seconds and bytes;
4. the same of the next one, after 1,000 more records.

A checkpoint's seconds are those of `samestream_checkpoint_duration_seconds`, its bytes those of its data file and manifest.

Last answers (November 2026, 2 shared cores that others were using, so that wall time says little; CPU seconds say more). Five digits,
--runs 2, load 8: 706,216 events/s without, 663,818 with checkpoints every second, ratio 0.94, of CPU 0.92 (0.87 and 0.89 with --runs 3 half
an hour before, 0.75 and 0.88 while all tests ran beside it); 5 checkpoints, the longest 0.38 s; recovery 6.4 s (2.7 s of CPU); the
first checkpoint of all groups 0.36 s, 13.6 MiB; after 1,000 more records 0.06 s, 0.02 MiB. Six digits, --runs 1, load 10: 309,432 and 298,246
events/s, ratio 0.96, of CPU 0.94; 7 checkpoints, the longest 2.14 s; recovery 26.3 s (12.0 s of CPU); the first checkpoint of all groups 4.4 s,
134 MiB; after 1,000 more records 0.03 s, 0.05 MiB.
"""
import argparse, json, os, random, re, shutil, signal, socket, statistics, subprocess, sys, threading, time, urllib.request

parser = argparse.ArgumentParser()
parser.add_argument("--digits", type=int, nargs="+", default=[5, 6])
parser.add_argument("--events", type=int, help="10 M for five digits, 20 M for six")
parser.add_argument("--runs", type=int, default=3)
parser.add_argument("--work", default="bench")
parser.add_argument("--samestream", default="target/release/samestream")
args = parser.parse_args()
here = os.path.dirname(os.path.abspath(__file__))
work = os.path.abspath(f"{args.work}/checkpoint")


def command(digits, journal, *more):
    environment = dict(os.environ, JOURNAL=journal, DIGITS=str(digits), OUT=f"{work}/out")
    line = [args.samestream, "run", f"{here}/groups.yaml", "--mode", "stream", "-q", "--state-dir", f"{work}/state"]
    return [*line, *more], environment


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def checkpoints(port):
    """Returns how many checkpoints a stream has made and their seconds; None: it does not answer."""
    try:
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
    except OSError:
        return None
    of = lambda part: re.findall(rf"^samestream_checkpoint_duration_seconds_{part}{{.*}} (\S+)$", text, re.M)
    return tuple(sum(float(value) for value in of(part)) for part in ("count", "sum"))


def whole(digits, journal, *more):
    """Runs to the end of the log; returns wall time, seconds of CPU, the peak in MiB, how many checkpoints there were before the
    end, and the seconds of the longest."""
    port = free_port()
    line, environment = command(digits, journal, "--until-caught-up", "--metrics", f"127.0.0.1:{port}", *more)
    begun = time.monotonic()
    child = subprocess.Popen(line, env=environment)
    before, longest, ended = (0, 0), 0, threading.Event()

    def watch():
        nonlocal before, longest
        while not ended.wait(0.2):
            now = checkpoints(port)
            if now and now[0] > before[0]:
                longest = max(longest, (now[1] - before[1]) / (now[0] - before[0]))
                before = now

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, status, usage = os.wait4(child.pid, 0)
    took = time.monotonic() - begun
    ended.set()
    watcher.join()
    if status != 0:
        sys.exit("samestream failed")
    return took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, before[0], longest


def first_checkpoint(digits, journal, every, *more):
    """Runs until it has kept a checkpoint; returns its seconds and bytes. Stopped then, it makes no other."""
    port = free_port()
    line, environment = command(digits, journal, "--metrics", f"127.0.0.1:{port}", "--checkpoint-every", f"{every * 1000:.0f}ms", *more)
    child = subprocess.Popen(line, env=environment)
    while True:
        time.sleep(0.1)
        if child.poll() is not None:
            sys.exit("samestream failed")
        number, seconds = checkpoints(port) or (0, 0)
        if number:
            break
    names = [os.path.join(at, name) for at, _, files in os.walk(f"{work}/state") for name in files]
    newest = max(os.path.basename(name)[:20] for name in names if re.search(r"/\d{20}\.json$", name))
    size = sum(os.path.getsize(name) for name in names if os.path.basename(name).startswith(newest))
    child.send_signal(signal.SIGTERM)
    child.wait()
    return seconds / number, size / 2**20


os.makedirs(work, exist_ok=True)
for digits in args.digits:
    events = args.events or {5: 10_000_000, 6: 20_000_000}[digits]
    journal = f"{work}/journal-{events}"
    if not os.path.isdir(journal):
        subprocess.run([args.samestream, "gen", "--to", f"journal:{journal}", "--events", str(events), "--bad", "0%",
                        "--duplicates", "0%", "-q"], check=True)
    taken = {"1h": [], "1s": []}
    for _ in range(args.runs):
        for every, runs in taken.items():
            shutil.rmtree(f"{work}/state", ignore_errors=True)
            runs.append(whole(digits, journal, "--checkpoint-every", every))
    without, every = (tuple(statistics.median(column) for column in zip(*runs)) for runs in taken.values())
    print(f"{digits} digits, {events:,} events: {events / without[0]:,.0f} events/s without ({without[1]:.1f} s of CPU, peak "
          f"{without[2]:.0f} MiB), {events / every[0]:,.0f} with checkpoints every second ({every[1]:.1f} s of CPU, peak "
          f"{every[2]:.0f} MiB); ratio {without[0] / every[0]:.2f}, of CPU {without[1] / every[1]:.2f}; "
          f"{every[3]:.0f} checkpoints, the longest {every[4]:.2f} s")
    recovery = whole(digits, journal)
    print(f"  recovery and end: {recovery[0]:.1f} s ({recovery[1]:.1f} s of CPU)")
    shutil.rmtree(f"{work}/state")
    # Late enough that all is read by then.
    full = first_checkpoint(digits, journal, 1.5 * without[0] + 2)
    print(f"  full checkpoint: {full[0]:.2f} s, {full[1]:.2f} MiB")
    # The journal keeps them: a later run of this script reads so many more.
    chance = random.Random(digits)
    record = {"user_id": 1, "page": "/", "action": "view", "amount": 1.25, "event_time": "2026-01-01T00:00:00Z"}
    lines = [json.dumps({"event_id": f"{chance.getrandbits(64):016x}", **record}) for _ in range(1000)]
    subprocess.run([args.samestream, "append", journal, "--input", "jsonl", "-q"], input="\n".join(lines).encode(), check=True)
    small = first_checkpoint(digits, journal, 1)
    print(f"  after 1,000 more records: {small[0]:.2f} s, {small[1]:.2f} MiB")
