#!/usr/bin/env python3
"""Kills a stream again and again while records come, and looks for each of them afterwards.

    python3 tests/cycles.py SAMESTREAM FOLDER [--cycles N] [--restarts N] [--rate N] [--seed N]

Needs the broker of `tests/services/kafka.sh` (environment KAFKA_PORT). Kafka's own console producer writes the records,
its console consumer reads what the stream has published; neither shares code with samestream. One pipeline writes, into
files and into topics, what it counts and, as a shadow of that, the ids of the records that each row is made of. In each
cycle the stream is started, makes a checkpoint, and is killed with SIGKILL at some moment; in every third cycle it is
stopped with SIGSTOP first and goes on for a while; in the first `--restarts` cycles the broker, which holds the log, the
rows and the coordinators of both, is stopped and started under it. In the end it runs until it has caught up, and is compared with a batch
run over the lake that was archived from the same topic: digests, and every row. A record that is lost or doubled is named.

Recovery is the time from the start of a process to its first checkpoint, which the sinks publish then.

Last answers (November 2026, 2 shared cores, a development build): 5 cycles, 340,107 records, 5 of 5 starts led to a newer
checkpoint, recovery median 1.70 s, at most 2.04 s, every record once; 65 s.
"""
import argparse, collections, json, os, random, re, signal, statistics, subprocess, sys, threading, time

parser = argparse.ArgumentParser()
parser.add_argument("samestream")
parser.add_argument("folder")
parser.add_argument("--cycles", type=int, default=5)
parser.add_argument("--restarts", type=int, default=0, help="in how many cycles the broker is started again, too")
parser.add_argument("--rate", type=int, default=15_000, help="records per second")
parser.add_argument("--seed", type=int, default=None)
options = parser.parse_args()
seed = options.seed if options.seed is not None else time.time_ns() % 1_000_000
chance = random.Random(seed)
samestream = os.path.abspath(options.samestream)
folder = os.path.abspath(options.folder)
os.makedirs(folder, exist_ok=True)
kafka = os.path.join(os.path.dirname(os.path.abspath(__file__)), "services", "kafka.sh")
brokers = f"127.0.0.1:{os.environ['KAFKA_PORT']}"
PARTITIONS = 3
run_name = f"cycles-{seed}-{os.getpid()}"
topic, pages_topic, shadow_topic = f"{run_name}-in", f"{run_name}-pages", f"{run_name}-shadow"

PIPELINE = f"""version: 1
name: cycles
sources:
  events:
    kafka: {{brokers: "{brokers}", topic: {topic}}}
    lake: {{path: lake}}
    schema: {{id: int64!, page: string!, amount: float64, at: timestamp!}}
    event_time: {{column: at, out_of_orderness: 2s}}
steps:
  pages:
    from: events
    window: {{tumbling: {{size: 5s}}}}
    group_by: [page]
    aggregate: {{views: "count(*)", revenue: "sum(amount)"}}
  shadow:
    from: events
    window: {{tumbling: {{size: 5s}}}}
    group_by: [page]
    aggregate: {{ids: "array_agg(id)"}}
sinks:
  pages_file: {{from: pages, jsonl: {{path: out/pages_file}}}}
  shadow_file: {{from: shadow, jsonl: {{path: out/shadow_file}}}}
  late_file: {{from: pages.late, csv: {{path: out/late_file}}}}
  pages_topic: {{from: pages, kafka: {{brokers: "{brokers}", topic: {pages_topic}}}}}
  shadow_topic: {{from: shadow, kafka: {{brokers: "{brokers}", topic: {shadow_topic}}}}}
"""


def fail(message):
    sys.exit(f"cycles.py: {message} (seed {seed}, files in {folder})")


def broker(*arguments):
    return subprocess.run([kafka, *arguments], check=True, capture_output=True, text=True).stdout


def command(*arguments):
    return [samestream, *arguments, "-q"]


def must(*arguments):
    done = subprocess.run(command(*arguments), cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        fail(f"`samestream {' '.join(arguments)}` ended with {done.returncode}: {done.stderr}")


class Producer(threading.Thread):
    """Hands records to Kafka's console producer, some of them late, until it is told to stop."""

    def __init__(self):
        super().__init__(daemon=True)
        self.over = threading.Event()
        self.sent = 0
        self.failure = None

    def run(self):
        arguments = ["tool", "org.apache.kafka.tools.ConsoleProducer", "--bootstrap-server", brokers, "--topic", topic]
        arguments += ["--reader-property", "parse.key=true", "--command-property", "acks=all"]
        # It gives up after three tries otherwise, which a restart of the broker outlasts.
        arguments += ["--message-send-max-retries", "1000000"]
        # Into a file: it has much to say while the broker is away, and would wait for somebody to read it.
        log = os.path.join(folder, "producer.log")
        child = subprocess.Popen([kafka, *arguments], stdin=subprocess.PIPE, stdout=open(log, "w"), stderr=subprocess.STDOUT, text=True)
        begun, clock = time.monotonic(), 1_767_225_600_000
        while not self.over.is_set():
            due = int((time.monotonic() - begun) * options.rate) - self.sent
            lines = []
            for _ in range(max(0, min(due, options.rate))):
                # A second of the clock holds a thousand records, so that windows of five seconds close all the time.
                at = clock + self.sent - chance.randrange(1500)
                if chance.random() < 0.01:
                    at -= chance.randrange(5_000, 60_000)
                value = {"id": self.sent, "page": f"/{chance.randrange(40)}", "amount": chance.randrange(1, 10_000) / 100, "at": at}
                lines.append(f"{chance.randrange(1000)}\t{json.dumps(value)}\n")
                self.sent += 1
            try:
                child.stdin.write("".join(lines))
                child.stdin.flush()
            except OSError as error:
                self.failure = f"{error}: {open(log).read()[-2000:]}"
                return
            time.sleep(0.02)
        child.communicate()
        said = open(log).read()
        # The console producer says what was not delivered, and goes on.
        if child.returncode != 0 or "ERROR" in said or "Exception" in said:
            self.failure = "\n".join(line for line in said.splitlines() if "WARN" not in line)[:2000]


def consume(name):
    """Returns the values of the committed records of a topic, read by Kafka's console consumer."""
    arguments = ["tool", "org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", brokers, "--topic", name]
    arguments += ["--from-beginning", "--isolation-level", "read_committed", "--timeout-ms", "4000"]
    said = subprocess.run([kafka, *arguments], capture_output=True, text=True).stdout
    return [line for line in said.splitlines() if line.startswith("{")]


def end_offsets(name):
    """Returns the sum of the end offsets of a topic's partitions."""
    return sum(int(line.rsplit(":", 1)[1]) for line in broker("offsets", name).splitlines() if re.fullmatch(r".+:\d+:\d+", line))


def rows(place):
    """Returns the final rows of a folder of JSON lines, and how often each is there."""
    found = collections.Counter()
    for name in sorted(os.listdir(place)):
        if name.endswith((".jsonl", ".csv")) and name[0] not in "._":
            with open(os.path.join(place, name)) as file:
                lines = file.read().splitlines()
            found.update(lines[1:] if name.endswith(".csv") else lines)
    return found


def finals(found):
    return collections.Counter({row: count for row, count in found.items() if json.loads(row)["final"]})


def ids(found):
    """Returns how often each record is in rows of the shadow."""
    counts = collections.Counter()
    for row, count in found.items():
        for one in json.loads(row)["ids"]:
            counts[one] += count
    return counts


def compare(what, found, expected):
    """Returns what is wrong; an empty text: nothing."""
    if not expected:
        return f"{what}: nothing is expected, so the comparison says nothing"
    lost, extra = expected - found, found - expected
    if not lost and not extra:
        return ""
    text = f"{what}: {sum(lost.values())} lost, {sum(extra.values())} extra or doubled of {sum(expected.values())}"
    return text + "".join(f"\n    lost:  {one}" for one in list(lost)[:5]) + "".join(f"\n    extra: {one}" for one in list(extra)[:5])


def checkpoint():
    """Returns the number of the newest checkpoint."""
    try:
        names = os.listdir(os.path.join(folder, ".samestream/cycles/stream/checkpoints"))
    except FileNotFoundError:
        return 0
    return max((int(name[:20]) for name in names if re.fullmatch(r"\d{20}\.json", name)), default=0)


def start():
    return subprocess.Popen(
        command("run", "cycles.yaml", "--mode", "stream", "--checkpoint-every", "200ms"),
        cwd=folder, stdout=subprocess.DEVNULL, stderr=open(os.path.join(folder, "stream.err"), "a"),
    )


def wait_for_newer(child, last, patience=60):
    """Waits for a checkpoint after that one; returns how long it took."""
    begun = time.monotonic()
    while checkpoint() <= last:
        if child.poll() is not None:
            fail(f"the stream ended with {child.returncode}: {open(os.path.join(folder, 'stream.err')).read()}")
        if producer.failure:
            fail(f"the producer failed: {producer.failure}")
        if time.monotonic() - begun > patience:
            fail(f"no checkpoint after {last} in {patience} s")
        time.sleep(0.005)
    return time.monotonic() - begun


with open(os.path.join(folder, "cycles.yaml"), "w") as file:
    file.write(PIPELINE)
begun = time.monotonic()
for name in (topic, pages_topic, shadow_topic):
    broker("topic", name, str(PARTITIONS))
producer = Producer()
producer.start()
until = time.monotonic() + 30
while end_offsets(topic) == 0:
    if time.monotonic() > until:
        fail(f"the producer does not produce: {producer.failure}")

newer, sleeps, recoveries, last = 0, 0, [], 0
for cycle in range(options.cycles):
    child = start()
    recovery = wait_for_newer(child, last)
    if cycle > 0:
        recoveries.append(recovery)
    time.sleep(chance.random() * 0.8)
    if cycle < options.restarts:
        broker("stop")
        gone = checkpoint()
        broker("start")
        wait_for_newer(child, gone + 1, 120)
    if cycle % 3 == 2:
        sleeps += 1
        child.send_signal(signal.SIGSTOP)
        time.sleep(chance.uniform(0.5, 2.0))
        child.send_signal(signal.SIGCONT)
        time.sleep(chance.random() * 0.5)
    child.kill()
    child.wait()
    now = checkpoint()
    newer += now > last
    last = now

producer.over.set()
producer.join(60)
if producer.failure or producer.is_alive():
    fail(f"the producer failed: {producer.failure}")
must("run", "cycles.yaml", "--mode", "stream", "--until-caught-up", "--summary", "stream.json")
must("archive", "cycles.yaml", "--until-caught-up")
must("run", "cycles.yaml", "--mode", "batch", "--end", "stream.json", "--out", "batch", "--state-dir", "batch-state", "--summary", "batch.json")

wrong = []
# The producer itself: what it has sent is in the topic, each record once.
if end_offsets(topic) != producer.sent:
    wrong.append(f"the test's own producer sent {producer.sent} records, the topic holds {end_offsets(topic)}")
in_topic = collections.Counter(json.loads(value)["id"] for value in consume(topic))
wrong.append(compare("records of the source topic", in_topic, collections.Counter(range(producer.sent))))
summaries = {}
for side in ("stream", "batch"):
    with open(os.path.join(folder, f"{side}.json")) as file:
        summaries[side] = json.load(file)
for key in ("digest_final", "digest_all", "digests", "digest_late", "digest_bad", "rows_read", "end"):
    if summaries["stream"][key] != summaries["batch"][key]:
        wrong.append(f"{key}: {summaries['stream'][key]} as a stream, {summaries['batch'][key]} as a batch")
if summaries["stream"]["rows_read"] != producer.sent or summaries["stream"]["rows_late"] == 0:
    wrong.append(f"{summaries['stream']['rows_read']} records were read, {summaries['stream']['rows_late']} were late")
for sink in ("pages_file", "shadow_file", "late_file"):
    wrong.append(compare(sink, rows(f"{folder}/out/{sink}"), rows(f"{folder}/batch/{sink}")))
published = {name: collections.Counter(consume(name)) for name in (pages_topic, shadow_topic)}
wrong.append(compare("pages_topic", published[pages_topic], finals(rows(f"{folder}/batch/pages_topic"))))
expected = finals(rows(f"{folder}/batch/shadow_topic"))
wrong.append(compare("shadow_topic", published[shadow_topic], expected))
wrong.append(compare("records by id in the rows of shadow_topic", ids(published[shadow_topic]), ids(expected)))
wrong = [text for text in wrong if text]

print(
    f"{options.cycles} cycles ({sleeps} with a stop before, {min(options.restarts, options.cycles)} with a restart of the broker), seed {seed}: {producer.sent:,} records, "
    f"{sum(expected.values()):,} final rows of the shadow in the topic, {sum(ids(expected).values()):,} records in them; "
    f"{newer} of {options.cycles} starts led to a newer checkpoint, the last is number {checkpoint()}; "
    f"recovery median {statistics.median(recoveries or [0]):.2f} s, at most {max(recoveries or [0]):.2f} s; "
    f"{time.monotonic() - begun:.0f} s in all; " + ("every record once" if not wrong else "WRONG")
)
if newer * 5 < options.cycles * 4:
    wrong.append(f"only {newer} of {options.cycles} starts found a newer checkpoint than the last: the kills say little")
if wrong:
    fail("\n".join(wrong))
