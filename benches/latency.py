#!/usr/bin/env python3
"""How long after the watermark has passed a window is its row in the sink topic?

    python3 benches/latency.py --brokers 127.0.0.1:19092 [--rate 50000] [--seconds 60] [--every 100ms 2s] [--delivery at_least_once exactly_once]

A producer keeps to --rate events a second over four partitions, in order, event time being the time when an event is due. A stream counts and
sums them by page (500) in windows of a second and writes to a topic; a consumer of committed records, a process of its own, notes when it sees
each row. A row's latency counts from the moment when the broker appended the record (its LogAppendTime, earlier than the producer hears of it)
that moved the last of the four partitions past the window's end, to the moment when the consumer has the row: so it holds our fetch, fold, close,
publication, the broker's work for both topics, and the consumer's fetch. The first ten seconds do not count. With `exactly_once` rows become
visible with a checkpoint (--checkpoint-every), so that this is part of it.
"""
import datetime, json, multiprocessing, os, signal, socket, subprocess, sys, time, urllib.request

import bench, measure

PARTITIONS = 4
PAGES = 500
STEP = '{from: clicks, window: {tumbling: {size: 1s}}, group_by: [page], aggregate: {events: "count(*)", revenue: "sum(amount)"}}'
SOURCE = """version: 1
name: latency
sources:
  clicks:
    kafka: {{brokers: "{brokers}", topic: "{clicks}"}}
    format: json
    schema: {{event_id: string!, user_id: int64!, page: string!, action: string, amount: float64, event_time: timestamp!}}
    event_time: {{column: event_time, out_of_orderness: 0s}}
steps:
  result: {step}
sinks:
  result: {{from: result, kafka: {{brokers: "{brokers}", topic: "{rows}", delivery: {delivery}}}}}
"""


def main():
    parser = bench.arguments(__doc__)
    parser.add_argument("--rate", type=int, default=50_000)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--every", nargs="+", default=["100ms"], help="--checkpoint-every of the stream")
    parser.add_argument("--delivery", nargs="+", default=["at_least_once", "exactly_once"])
    options = parser.parse_args()
    here = bench.begin(options, ["samestream"])
    print(f"{options.rate:,} events/s for {options.seconds} s; {measure.machine()}\n")
    print("| delivery | checkpoint every | rows | p50 ms | p99 ms | max ms | events/s sent | samestream CPU s |\n|---|---|---|---|---|---|---|---|", flush=True)
    for delivery in options.delivery:
        for every in options.every:
            latencies, rate, cpu = run(here, options, delivery, every)
            at = lambda share: latencies[min(int(len(latencies) * share), len(latencies) - 1)] * 1000
            print(f"| {delivery} | {every} | {len(latencies):,} | {at(0.5):.0f} | {at(0.99):.0f} | {at(1):.0f} | {rate:,.0f} | {cpu:.1f} |", flush=True)
    print(f"\n{measure.machine()}")


def run(here, options, delivery, every):
    """Measures one way of delivery; returns the sorted latencies in seconds, how many events a second were sent, and our CPU seconds."""
    stamp = int(time.time())
    topics = {"clicks": f"latency-clicks-{stamp}", "rows": f"latency-rows-{stamp}"}
    make_topics(here.brokers, topics)
    with open(here.path("latency.yaml"), "w") as file:
        file.write(SOURCE.format(brokers=here.brokers, step=STEP, delivery=delivery, **topics))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [here.samestream, "run", here.path("latency.yaml"), "--mode", "stream", "--checkpoint-every", every, "-q",
               "--state-dir", here.empty("latency-state"), "--metrics", f"127.0.0.1:{port}"]
    with open(here.path("latency.log"), "w") as log:
        stream = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_ready(stream, port, here.path("latency.log"))
        ours, theirs = multiprocessing.Pipe()
        consumer = multiprocessing.Process(target=consume, args=(here.brokers, topics["rows"], theirs))
        consumer.start()
        ours.recv()
        passed, rate = produce(here.brokers, topics["clicks"], options.rate, options.seconds)
        time.sleep(5)
        ours.send("stop")
        seen = ours.recv()
        consumer.join()
        cpu = measure.cpu_s([stream.pid])
    finally:
        stream.send_signal(signal.SIGTERM)
        stream.wait()
    first = min(passed) + 10
    latencies = sorted(at - passed[end] for end, at in seen if end in passed and end >= first)
    if not latencies:
        sys.exit(f"no rows were seen: {here.path('latency.log')}")
    return latencies, rate, cpu


def make_topics(brokers, topics):
    from confluent_kafka.admin import AdminClient, NewTopic

    settings = {"message.timestamp.type": "LogAppendTime"}
    admin = AdminClient({"bootstrap.servers": brokers})
    for future in admin.create_topics([NewTopic(name, PARTITIONS, 1, config=settings) for name in topics.values()]).values():
        future.result()


def wait_ready(stream, port, log):
    """Waits until the stream answers that it reads."""
    while stream.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5)
            return
        except OSError:
            time.sleep(0.1)
    raise measure.Failed(["samestream"], log)


def consume(brokers, topic, parent):
    """Notes the window's end and the time of every row until it is told to stop; then sends the list."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": brokers, "group.id": topic, "isolation.level": "read_committed", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
    parent.send("ready")
    seen = []
    while not parent.poll():
        for message in consumer.consume(1000, 0.05):
            at = time.time()
            if message.error() is None:
                end = json.loads(message.value())["window_end"]
                seen.append((datetime.datetime.fromisoformat(end).timestamp(), at))
    consumer.close()
    parent.send(seen)


def produce(brokers, topic, rate, seconds):
    """Sends events as they are due; returns when each window's end was passed in all partitions, and the rate that was kept."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": brokers, "linger.ms": 1, "compression.type": "lz4", "acks": "all", "queue.buffering.max.messages": 1_000_000})
    began = float(int(time.time()) + 1)
    passed_in, sent, total = {}, 0, rate * seconds
    texts = [f"{datetime.datetime.fromtimestamp(began + second, datetime.timezone.utc):%Y-%m-%dT%H:%M:%S}" for second in range(seconds)]
    newest = [None] * PARTITIONS

    def passes(end, partition):
        def note(error, message):
            assert error is None, error
            passed_in.setdefault(end, {})[partition] = message.timestamp()[1] / 1000
        return note

    while sent < total:
        due = min(int((time.time() - began) * rate), total)
        while sent < due:
            second, part = divmod(sent, rate)
            partition = sent % PARTITIONS
            value = (f'{{"event_id":"{sent:016x}","user_id":{sent * 7919 % 100_000},"page":"/products/{sent * 31 % PAGES:04}","action":"view",'
                     f'"amount":{sent * 37 % 50_000 / 100},"event_time":"{texts[second]}.{part * 1_000_000 // rate:06}Z"}}')
            # The first record of a second in its partition passes the window that ended there.
            is_first, newest[partition] = newest[partition] != second, second
            more = {"on_delivery": passes(began + second, partition)} if is_first else {}
            producer.produce(topic, value, partition=partition, **more)
            sent += 1
        producer.poll(0)
        time.sleep(0.001)
    took = time.time() - began
    producer.flush()
    return {end: max(times.values()) for end, times in passed_in.items() if len(times) == PARTITIONS}, total / took


if __name__ == "__main__":
    main()
