"""bytewax: a dataflow of Python functions over the topic, one worker, which was faster than two. JSON is decoded by orjson. What its
event clock takes for late is dropped."""
import sys

import measure

PACKAGES = ["bytewax[kafka]==0.21.1", "orjson", "duckdb==2.0.0"]
JARS, JARS_ALONE = [], False
BATCH = {}
STREAM = ["pages"]
# Of 1,000 and 10,000 this was the faster.
RECORDS_AT_ONCE = 1000


def stream(bench, work, log, out):
    return {"": measure.whole(bench.module(__name__, bench.brokers, log.topic, out or ""), bench.path("bytewax.log"))}


def main(brokers, topic, out):
    import datetime
    import bytewax.operators as op
    import orjson
    from bytewax.connectors.kafka import KafkaSource
    from bytewax.dataflow import Dataflow
    from bytewax.operators.windowing import EventClock, TumblingWindower, fold_window
    from bytewax.outputs import DynamicSink, StatelessSinkPartition
    from bytewax.testing import run_main

    infinity = float("inf")
    from_iso = datetime.datetime.fromisoformat

    def decoded(message):
        click = orjson.loads(message.value)
        return click["page"], (from_iso(click["event_time"]), click["amount"])

    def folded(figures, click):
        figures[0] += 1
        amount = click[1]
        if amount is not None:
            figures[1] += 1
            figures[2] += amount
            if amount < figures[3]:
                figures[3] = amount
            if amount > figures[4]:
                figures[4] = amount
        return figures

    def merged(left, right):
        return [left[0] + right[0], left[1] + right[1], left[2] + right[2], min(left[3], right[3]), max(left[4], right[4])]

    begin = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
    minute = datetime.timedelta(minutes=1)
    rows = []

    class Rows(DynamicSink, StatelessSinkPartition):
        def build(self, *_):
            return self

        def write_batch(self, items):
            if out:
                rows.extend((page, begin + window * minute, f[0], f[2], f[3], f[4]) if f[1] else (page, begin + window * minute, f[0], None, None, None)
                            for page, (window, f) in items)

    flow = Dataflow("pages")
    # The default of a second makes a replay several times slower.
    source = KafkaSource([brokers], [topic], tail=False, batch_size=RECORDS_AT_ONCE, add_config={"fetch.queue.backoff.ms": "5"})
    clicks = op.map("decoded", op.input("clicks", flow, source), decoded)
    clock = EventClock(lambda click: click[0], wait_for_system_duration=datetime.timedelta(seconds=30))
    windows = fold_window("pages", clicks, clock, TumblingWindower(length=minute, align_to=begin), lambda: [0, 0, 0.0, infinity, -infinity], folded, merged, ordered=False)
    op.output("rows", windows.down, Rows())
    run_main(flow)
    if out:
        import duckdb, pyarrow

        names = ["page", "window_start", "events", "revenue", "least", "best"]
        table = pyarrow.table(dict(zip(names, map(list, zip(*rows)))))
        duckdb.from_arrow(table).write_parquet(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
