"""A pipeline as an asset of Dagster with a partition for each day: to materialize one is `samestream run --mode batch` over it.

    dagster dev -f pipelines/deploy/dagster_job.py

What it needs is named by the environment:

    SAMESTREAM_BIN        the program; default `samestream`
    SAMESTREAM_PROJECT    the folder of the project; default `/srv/shop`
    SAMESTREAM_PIPELINE   the pipeline, as on the command line; default `page_views`
    SAMESTREAM_ZONE       whose days; default `UTC`
    SAMESTREAM_START      the first day; default `2026-01-01`

The summary of the run – digests, counts, offsets – is the metadata of the materialization, so that two of one day can be
compared. Dagster says when, so the pipeline file has no `schedules:` of its own.
"""

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

import dagster

PROGRAM = os.environ.get("SAMESTREAM_BIN", "samestream")
PROJECT = os.environ.get("SAMESTREAM_PROJECT", "/srv/shop")
PIPELINE = os.environ.get("SAMESTREAM_PIPELINE", "page_views")
ZONE = os.environ.get("SAMESTREAM_ZONE", "UTC")
START = os.environ.get("SAMESTREAM_START", "2026-01-01")

# The one exit code that is worth another try: brokers, a database or the network were away.
ENVIRONMENT = 4
WHY = {
    1: "it was answered with no: a limit such as --fail-on-late was passed, or `verify` found a difference",
    2: "the command line or the pipeline file is wrong, or there is nothing in the day (E_EMPTY)",
    3: "data are damaged, or more records are bad than allowed",
    4: "the environment failed, which may pass",
    5: "the state is held by another run, or is that of another definition",
    101: "a bug of samestream",
}

days = dagster.DailyPartitionsDefinition(start_date=START, timezone=ZONE)


@dagster.asset(
    name=re.sub(r"\W", "_", Path(PIPELINE).stem),
    partitions_def=days,
    # Two runs of one pipeline would be refused (exit code 5).
    pool="samestream",
    retry_policy=dagster.RetryPolicy(max_retries=3, delay=60, backoff=dagster.Backoff.EXPONENTIAL),
)
def replaced(context: dagster.AssetExecutionContext) -> dagster.MaterializeResult:
    """Replaces the rows of a day, and no others."""
    day = context.partition_time_window
    with tempfile.TemporaryDirectory() as folder:
        summary = Path(folder) / "summary.json"
        command = [PROGRAM, "run", PIPELINE, "--mode", "batch"]
        command += ["--from", day.start.isoformat(), "--to", day.end.isoformat()]
        command += ["--summary", str(summary), "--started-by", f"dagster {context.run_id}"]
        done = subprocess.run(command, cwd=PROJECT, stderr=subprocess.PIPE, text=True, check=False)
        for line in done.stderr.splitlines():
            context.log.info(line)
        if done.returncode != 0:
            raise dagster.Failure(
                description=f"exit code {done.returncode}: {WHY.get(done.returncode, 'see what it said')}",
                metadata={"exit_code": done.returncode, "stderr": done.stderr[-4000:]},
                # Nothing else goes well by being repeated. Killed by a signal, it may.
                allow_retries=done.returncode == ENVIRONMENT or done.returncode < 0,
            )
        found = json.loads(summary.read_text())
    plain = {name: value for name, value in found.items() if isinstance(value, (str, int, float))}
    more = {name: dagster.MetadataValue.json(value) for name, value in found.items() if isinstance(value, (dict, list))}
    return dagster.MaterializeResult(
        metadata={**plain, **more, "dagster/row_count": found["rows_written"]},
        data_version=dagster.DataVersion(found["digest_final"]),
    )


job = dagster.define_asset_job("replace_a_day", selection=[replaced], partitions_def=days)

defs = dagster.Definitions(
    assets=[replaced],
    jobs=[job],
    schedules=[dagster.build_schedule_from_partitioned_job(job, hour_of_day=3, minute_of_hour=15)],
)
