"""What the scripts share that do something bad to a stream over real brokers, and look for each record afterwards.

Kafka's own console producer writes the records, its console consumer reads what the stream has published; neither shares code
with samestream. One pipeline writes, into files and into topics, what it counts and, as a shadow of that, the ids of the records
that each row is made of. In the end the stream runs until it has caught up, and is compared with a batch run over the lake
that was archived from the same topic: digests, and every row. A record that is lost or doubled is named.

The harness is checked first: what the producer has sent must be what the topic holds, by its end offsets and by every id.
"""
import atexit, collections, json, os, random, re, signal, subprocess, sys, threading, time

here = os.path.dirname(os.path.abspath(__file__))
PARTITIONS = 3


def arguments(parser):
    """Adds what every script takes."""
    parser.add_argument("samestream")
    parser.add_argument("folder")
    parser.add_argument("--rate", type=int, default=15_000, help="records per second")
    parser.add_argument("--seed", type=int, default=None)
    return parser


class World:
    """A folder with the pipeline, its topics, and somebody who produces."""

    def __init__(self, options, service="kafka.sh", brokers=None, seen_by_stream=None, seen_by_sinks=None, settings="", extra_sinks=""):
        self.script = os.path.basename(sys.argv[0])
        self.rate = options.rate
        self.seed = options.seed if options.seed is not None else time.time_ns() % 1_000_000
        self.chance = random.Random(self.seed)
        self.samestream = os.path.abspath(options.samestream)
        self.folder = os.path.abspath(options.folder)
        os.makedirs(self.folder, exist_ok=True)
        if os.listdir(self.folder):
            sys.exit(f"{self.script}: {self.folder} is not empty: what is in it would be gone on with")
        self.service = os.path.join(here, "services", service)
        self.brokers = brokers or f"127.0.0.1:{os.environ['KAFKA_PORT']}"
        self.begun = time.monotonic()
        name = f"{self.script.removesuffix('.py')}-{self.seed}-{os.getpid()}"
        self.topic, self.pages_topic, self.shadow_topic = f"{name}-in", f"{name}-pages", f"{name}-shadow"
        by_stream = seen_by_stream or self.brokers
        by_sinks = seen_by_sinks or by_stream
        self.sinks = f"""
  pages_file: {{from: pages, jsonl: {{path: out/pages_file}}}}
  shadow_file: {{from: shadow, jsonl: {{path: out/shadow_file}}}}
  late_file: {{from: pages.late, csv: {{path: out/late_file}}}}
  pages_topic: {{from: pages, kafka: {{brokers: "{by_sinks}", topic: {self.pages_topic}{settings}}}}}
  shadow_topic: {{from: shadow, kafka: {{brokers: "{by_sinks}", topic: {self.shadow_topic}{settings}}}}}
{extra_sinks}"""
        self.write_pipeline(by_stream)
        self.producer = None
        # How many times the stream ended and said that it may be started again.
        self.ended = 0

    def write_pipeline(self, brokers, path="cycles.yaml"):
        with open(os.path.join(self.folder, path), "w") as file:
            file.write(
                f"""version: 1
name: cycles
sources:
  events:
    kafka: {{brokers: "{brokers}", topic: {self.topic}}}
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
sinks:{self.sinks}"""
            )

    def fail(self, message):
        sys.exit(f"{self.script}: {message} (seed {self.seed}, files in {self.folder})")

    def broker(self, *arguments):
        done = subprocess.run([self.service, *arguments], capture_output=True, text=True)
        if done.returncode != 0:
            self.fail(f"`{os.path.basename(self.service)} {' '.join(arguments)}` ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def command(self, *arguments):
        return [self.samestream, *arguments, "-q"]

    def must(self, *arguments):
        done = subprocess.run(self.command(*arguments), cwd=self.folder, capture_output=True, text=True)
        if done.returncode != 0:
            self.fail(f"`samestream {' '.join(arguments)}` ended with {done.returncode}: {done.stderr}")

    def begin(self):
        """Makes the topics, and waits until records come."""
        for name in (self.topic, self.pages_topic, self.shadow_topic):
            self.broker("topic", name, str(PARTITIONS))
        self.producer = Producer(self)
        self.producer.start()
        until = time.monotonic() + 60
        while self.end_offsets(self.topic) == 0:
            if time.monotonic() > until:
                self.fail(f"the producer does not produce: {self.producer.failure}")

    def start(self, *arguments):
        """Starts the stream."""
        child = subprocess.Popen(
            self.command("run", "cycles.yaml", "--mode", "stream", "--checkpoint-every", "200ms", *arguments),
            cwd=self.folder, stdout=subprocess.DEVNULL, stderr=open(os.path.join(self.folder, "stream.err"), "a"),
        )
        # What fails leaves nothing behind.
        atexit.register(child.kill)
        return child

    def said(self):
        """Returns the end of what streams have said."""
        with open(os.path.join(self.folder, "stream.err")) as file:
            return file.read()[-2000:]

    def checkpoint(self):
        """Returns the number of the newest checkpoint."""
        try:
            names = os.listdir(os.path.join(self.folder, ".samestream/cycles/stream/checkpoints"))
        except FileNotFoundError:
            return 0
        return max((int(name[:20]) for name in names if re.fullmatch(r"\d{20}\.json", name)), default=0)

    def wait_for_newer(self, child, last, patience=60):
        """Waits for a checkpoint after that one; returns how long it took."""
        begun = time.monotonic()
        while self.checkpoint() <= last:
            if child.poll() is not None:
                self.fail(f"the stream ended with {child.returncode}: {self.said()}")
            if self.producer.failure:
                self.fail(f"the producer failed: {self.producer.failure}")
            if time.monotonic() - begun > patience:
                self.fail(f"no checkpoint after {last} in {patience} s")
            time.sleep(0.005)
        return time.monotonic() - begun

    def going_on(self, child, last, patience, after=""):
        """Waits for two checkpoints after that one; starts a stream again that says that it may be. Returns it, and how long it took."""
        begun = time.monotonic()
        while self.checkpoint() < last + 2:
            code = child.poll()
            if code is not None:
                if code != 4:
                    self.fail(f"the stream ended with {code}{after}: {self.said()}")
                self.ended += 1
                time.sleep(0.5)
                child = self.start()
            if self.producer.failure:
                self.fail(f"the producer failed: {self.producer.failure}")
            if time.monotonic() - begun > patience:
                self.fail(f"no checkpoint after {last} in {patience} s{after}: {self.said()}")
            time.sleep(0.01)
        return child, time.monotonic() - begun

    def consume(self, name):
        """Returns the values of the committed records of a topic, read by Kafka's console consumer."""
        arguments = ["tool", "org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", self.brokers, "--topic", name]
        arguments += ["--from-beginning", "--isolation-level", "read_committed", "--timeout-ms", "6000"]
        said = subprocess.run([self.service, *arguments], capture_output=True, text=True).stdout
        return [line for line in said.splitlines() if line.startswith("{")]

    def end_offsets(self, name):
        """Returns the sum of the end offsets of a topic's partitions."""
        lines = self.broker("offsets", name).splitlines()
        return sum(int(line.rsplit(":", 1)[1]) for line in lines if re.fullmatch(r".+:\d+:\d+", line))

    def finish(self):
        """Lets the stream catch up with all that was produced and compares it with a batch run. Returns what is wrong, how
        many rows of the shadow were expected, and how many records those are made of."""
        producer = self.producer
        producer.over.set()
        producer.join(180)
        if producer.failure or producer.is_alive():
            self.fail(f"the producer failed: {producer.failure}")
        self.must("run", "cycles.yaml", "--mode", "stream", "--until-caught-up", "--summary", "stream.json")
        self.must("archive", "cycles.yaml", "--until-caught-up")
        self.must("run", "cycles.yaml", "--mode", "batch", "--end", "stream.json", "--out", "batch", "--state-dir", "batch-state", "--summary", "batch.json")
        wrong = []
        # The producer itself: what it has sent is in the topic, each record once.
        if self.end_offsets(self.topic) != producer.sent:
            wrong.append(f"the test's own producer sent {producer.sent} records, the topic holds {self.end_offsets(self.topic)}")
        in_topic = collections.Counter(json.loads(value)["id"] for value in self.consume(self.topic))
        wrong.append(compare("records of the source topic", in_topic, collections.Counter(range(producer.sent))))
        summaries = {}
        for side in ("stream", "batch"):
            with open(os.path.join(self.folder, f"{side}.json")) as file:
                summaries[side] = json.load(file)
        for key in ("digest_final", "digest_all", "digests", "digest_late", "digest_bad", "rows_read", "end"):
            if summaries["stream"][key] != summaries["batch"][key]:
                wrong.append(f"{key}: {summaries['stream'][key]} as a stream, {summaries['batch'][key]} as a batch")
        if summaries["stream"]["rows_read"] != producer.sent or summaries["stream"]["rows_late"] == 0:
            wrong.append(f"{summaries['stream']['rows_read']} records were read, {summaries['stream']['rows_late']} were late")
        for sink in ("pages_file", "shadow_file", "late_file"):
            wrong.append(compare(sink, rows(f"{self.folder}/out/{sink}"), rows(f"{self.folder}/batch/{sink}")))
        published = {name: collections.Counter(self.consume(name)) for name in (self.pages_topic, self.shadow_topic)}
        wrong.append(compare("pages_topic", published[self.pages_topic], finals(rows(f"{self.folder}/batch/pages_topic"))))
        expected = finals(rows(f"{self.folder}/batch/shadow_topic"))
        wrong.append(compare("shadow_topic", published[self.shadow_topic], expected))
        wrong.append(compare("records by id in the rows of shadow_topic", ids(published[self.shadow_topic]), ids(expected)))
        return [text for text in wrong if text], sum(expected.values()), sum(ids(expected).values())

    def result(self, what, checks=()):
        """Finishes, says in a line what was done and what came of it, and ends the process if something is wrong. `checks`
        are more questions, each of which returns what is wrong."""
        wrong, expected, records = self.finish()
        wrong += [text for text in (check() for check in checks) if text]
        verdict = "every record once" if not wrong else "WRONG"
        print(
            f"{what}, seed {self.seed}: {self.producer.sent:,} records, {expected:,} final rows of the shadow in the topic, "
            f"{records:,} records in them, the last checkpoint is number {self.checkpoint()}; "
            f"{time.monotonic() - self.begun:.0f} s in all; {verdict}"
        )
        if wrong:
            self.fail("\n".join(wrong))


class Producer(threading.Thread):
    """Hands records to Kafka's console producer, some of them late, until it is told to stop."""

    def __init__(self, world):
        super().__init__(daemon=True)
        self.world = world
        self.over = threading.Event()
        self.sent = 0
        self.failure = None

    def run(self):
        world, chance = self.world, self.world.chance
        arguments = ["tool", "org.apache.kafka.tools.ConsoleProducer", "--bootstrap-server", world.brokers, "--topic", world.topic]
        arguments += ["--reader-property", "parse.key=true", "--command-property", "acks=all"]
        # It gives up after three tries or two minutes otherwise, which a restart of the broker outlasts.
        arguments += ["--message-send-max-retries", "1000000", "--command-property", "delivery.timeout.ms=900000"]
        arguments += ["--max-block-ms", "900000"]
        # Into a file: it has much to say while the broker is away, and would wait for somebody to read it.
        log = os.path.join(world.folder, "producer.log")
        child = subprocess.Popen([world.service, *arguments], stdin=subprocess.PIPE, stdout=open(log, "w"), stderr=subprocess.STDOUT, text=True)
        atexit.register(child.kill)
        begun, clock = time.monotonic(), 1_767_225_600_000
        while not self.over.is_set():
            due = int((time.monotonic() - begun) * world.rate) - self.sent
            lines = []
            for _ in range(max(0, min(due, world.rate))):
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
            lines = [line for line in said.splitlines() if "WARN" not in line]
            if child.returncode != 0 or any("ERROR" in line or "Exception" in line for line in lines):
                self.failure = "\n".join(lines)[:2000]


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
