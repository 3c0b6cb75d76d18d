"""samestream: one pipeline file a work, run in either mode as a whole process. Lateness, exact sums and output included; a stream
keeps its checkpoints, every two seconds."""
import json

import measure
from bench import THREADS

PACKAGES, JARS, JARS_ALONE = [], [], False
FIGURES = '{events: "count(*)", revenue: "sum(amount)", least: "min(amount)", best: "max(amount)", mean: "avg(amount)"}'
MINUTE = "window: {tumbling: {size: 1m}}"
BATCH = {
    "pages": "{from: clicks, %s, group_by: [page], aggregate: %s}" % (MINUTE, FIGURES),
    "users": "{from: clicks, %s, group_by: [user_id], aggregate: %s}" % (MINUTE, FIGURES),
    "hops": '{from: clicks, window: {hopping: {size: 5m, every: 1m}}, group_by: [user_id], aggregate: {events: "count(*)"}}',
    "sessions": '{from: clicks, window: {session: {gap: 30s}}, group_by: [user_id], aggregate: {events: "count(*)", revenue: "sum(amount)"}}',
    "distinct": '{from: clicks, %s, group_by: [page], aggregate: {users: "count_distinct(user_id)"}}' % MINUTE,
    "top": '{from: clicks, %s, group_by: [page], aggregate: {revenue: "sum(amount)"}, top: {n: 10, by: [{revenue: desc}]}}' % MINUTE,
    "quantile": '{from: clicks, %s, group_by: [page], aggregate: {middle: "quantile(amount, 0.5)"}}' % MINUTE,
}
STREAM = BATCH
SOURCE = """version: 1
name: {name}
sources:
  clicks:
    kafka: {{brokers: "{brokers}", topic: "{topic}", options: {kafka}}}
    lake: {{path: "{lake}"}}
    format: json
    schema: {{event_id: string!, user_id: int64!, page: string!, action: string, amount: float64, event_time: timestamp!}}
    event_time: {{column: event_time, out_of_orderness: 30s}}
steps:
  result: {step}
sinks:
"""
SINK = '  result: {{from: result, parquet: {{path: "{out}"}}}}\n'


def pipeline(bench, name, step, log, sink, kafka=None):
    """Writes a pipeline file over a log with one step and one sink, and settings of the Kafka client; returns its path."""
    path = bench.path(f"{name}.yaml")
    with open(path, "w") as file:
        file.write(SOURCE.format(name=name, brokers=bench.brokers or "none:0", topic=log.topic, kafka=json.dumps(kafka or {}), lake=log.lake, step=step) + sink)
    return path


def run(bench, work, log, out, *options, kafka=None):
    file = pipeline(bench, work, BATCH[work], log, SINK.format(out=out), kafka)
    command = [bench.samestream, "run", file, "--state-dir", bench.path("state"), "-q", *options]
    return {"": measure.whole(command, bench.path("samestream.log"))}


def batch(bench, work, log, out, threads=THREADS):
    return run(bench, work, log, out, "--mode", "batch", "--threads", str(threads))


def stream(bench, work, log, out, kafka=None):
    return run(bench, work, log, out or bench.path("out-discarded"), "--mode", "stream", "--until-caught-up", "--fresh", kafka=kafka)
