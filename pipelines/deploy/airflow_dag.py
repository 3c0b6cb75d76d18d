"""A pipeline as a DAG of Airflow 3: each run replaces the rows of its data interval, by `samestream run --mode batch`.

Put the file into the DAGs folder. What it needs is named by the environment of Airflow's workers:

    SAMESTREAM_BIN        the program; default `samestream`
    SAMESTREAM_PROJECT    the folder of the project; default `/srv/shop`
    SAMESTREAM_PIPELINE   the pipeline, as on the command line; default `page_views`
    SAMESTREAM_CRON       when; default `0 3 * * *`
    SAMESTREAM_ZONE       on whose clocks; default `UTC`
    SAMESTREAM_ARCHIVE    `yes`: the lake is brought up to now before each run; for sources that are topics

Airflow says when and which interval, so the pipeline file has no `schedules:` of its own. A run that is repeated, cleared or
backfilled (`airflow backfill create`) replaces the same rows by the same bytes.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from datetime import timedelta
from pathlib import Path

import pendulum
from airflow.sdk import DAG, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException
from airflow.timetables.interval import CronDataIntervalTimetable

PROGRAM = os.environ.get("SAMESTREAM_BIN", "samestream")
PROJECT = os.environ.get("SAMESTREAM_PROJECT", "/srv/shop")
PIPELINE = os.environ.get("SAMESTREAM_PIPELINE", "page_views")
CRON = os.environ.get("SAMESTREAM_CRON", "0 3 * * *")
ZONE = os.environ.get("SAMESTREAM_ZONE", "UTC")

# The one exit code that is worth another try: brokers, a database or the network were away.
ENVIRONMENT = 4
WHY = {
    1: "it was answered with no: a limit such as --fail-on-late was passed, or `verify` found a difference",
    2: "the command line or the pipeline file is wrong, or there is nothing in the interval (E_EMPTY)",
    3: "data are damaged, or more records are bad than allowed",
    5: "the state is held by another run, or is that of another definition",
    101: "a bug of samestream",
}


def samestream(*arguments: str) -> None:
    """Runs the program. What cannot go well by itself fails the task at once, without the retries."""
    done = subprocess.run([PROGRAM, *arguments], cwd=PROJECT, check=False)
    if done.returncode == 0:
        return
    what = f"`{PROGRAM} {' '.join(arguments)}` ended with {done.returncode}"
    if done.returncode == ENVIRONMENT or done.returncode < 0:
        raise RuntimeError(f"{what}: the environment failed, which may pass")
    raise AirflowFailException(f"{what}: {WHY.get(done.returncode, 'see what it said')}")


with DAG(
    dag_id=f"samestream_{Path(PIPELINE).stem}",
    description=f"replaces the rows of {PIPELINE}, interval by interval",
    schedule=CronDataIntervalTimetable(CRON, timezone=ZONE),
    start_date=pendulum.datetime(2026, 1, 1, tz=ZONE),
    catchup=False,
    # Two runs of one pipeline would be refused (exit code 5).
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=1), "retry_exponential_backoff": True},
    tags=["samestream"],
) as dag:

    @task
    def archive() -> None:
        """Brings the lake up to now, where the source is a topic. A source without a broker and a lake has nothing to archive."""
        if os.environ.get("SAMESTREAM_ARCHIVE", "no") == "yes":
            samestream("archive", PIPELINE, "--until-caught-up")

    @task
    def replace() -> dict:
        """Replaces the rows of the data interval and returns the run's summary, which is an XCom then."""
        context = get_current_context()
        begin, end = context["data_interval_start"], context["data_interval_end"]
        with tempfile.TemporaryDirectory() as folder:
            summary = Path(folder) / "summary.json"
            samestream(
                *("run", PIPELINE, "--mode", "batch", "--from", begin.isoformat(), "--to", end.isoformat()),
                *("--summary", str(summary), "--started-by", f"airflow {context['run_id']}"),
            )
            return json.loads(summary.read_text())

    archive() >> replace()
