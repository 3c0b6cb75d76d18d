"""pathway: its tables over the topic in `static` mode, two threads, without a behaviour, so that no event is late and every window
is kept to the end. Rows that are kept come with `exactly_once_behavior` of 30 s instead, which drops what it takes for late."""
import sys

import measure
from bench import THREADS

PACKAGES = ["pathway==0.33.0", "duckdb==2.0.0"]
JARS, JARS_ALONE = [], False
BATCH = {}
STREAM = ["pages"]


def stream(bench, work, log, out):
    return {"": measure.whole(bench.module(__name__, bench.brokers, log.topic, out or ""), bench.path("pathway.log"))}


def main(brokers, topic, out):
    import datetime, os

    os.environ["PATHWAY_THREADS"] = str(THREADS)
    import pathway as pw

    class Click(pw.Schema):
        page: str
        amount: float | None
        event_time: str

    settings = {"bootstrap.servers": brokers, "group.id": f"pathway-{os.getpid()}", "auto.offset.reset": "earliest", "fetch.queue.backoff.ms": "5"}
    clicks = pw.io.kafka.read(settings, topic=topic, format="json", schema=Click, mode="static")
    clicks = clicks.select(pw.this.page, pw.this.amount, at=pw.this.event_time.dt.strptime("%Y-%m-%dT%H:%M:%S.%fZ"))
    behavior = pw.temporal.exactly_once_behavior(shift=datetime.timedelta(seconds=30)) if out else None
    windows = clicks.windowby(clicks.at, window=pw.temporal.tumbling(duration=datetime.timedelta(minutes=1)), instance=clicks.page, behavior=behavior)
    amount = pw.coalesce(pw.this.amount, 0.0)
    figures = windows.reduce(page=pw.this._pw_instance, window_start=pw.this._pw_window_start, events=pw.reducers.count(), revenue=pw.reducers.sum(amount),
        least=pw.reducers.min(amount), best=pw.reducers.max(amount), mean=pw.reducers.avg(amount))
    if out:
        pw.io.jsonlines.write(figures, f"{out}.jsonl")
    else:
        pw.io.null.write(figures)
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)
    if out:
        import duckdb

        # Each change of a row is a line: `diff` is 1 where it comes and -1 where it goes.
        duckdb.sql(f"""copy (select page, window_start::timestamp as window_start, events, revenue from read_json('{out}.jsonl')
            group by all having sum(diff) > 0) to '{out}' (format parquet)""")


if __name__ == "__main__":
    main(*sys.argv[1:])
