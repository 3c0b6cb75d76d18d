"""Tries the files of pipelines/deploy with the program and with what they are written for.

    python3 tests/deploy.py PROGRAM [--install] [--only NAME ...]

Checks: syntax, crontab, systemd, kubernetes, airflow, dagster. What needs a tool that is not there is left out, and named at the
end. `--install` makes virtual environments below $SAMESTREAM_DEPLOY_VENVS (default: a temporary folder) for those that PyPI has.
"""

import argparse
import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILES = ROOT / "pipelines" / "deploy"
PACKAGES = {"kubernetes": ["kubernetes-validate"], "dagster": ["dagster"], "airflow": ["apache-airflow"]}


class LeftOut(Exception):
    """A tool is not there."""


def run(*command, code=0, **more):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **more)
    said = done.stdout + done.stderr
    assert code is None or done.returncode == code, f"{' '.join(map(str, command))} ended with {done.returncode}, not {code}:\n{said[-4000:]}"
    return said


class World:
    def __init__(self, program, folder, install):
        self.program, self.folder, self.install = Path(program).resolve(), Path(folder), install
        self.project = self.folder / "shop"
        run(self.program, "init", self.project)
        self.venvs = Path(os.environ.get("SAMESTREAM_DEPLOY_VENVS", self.folder / "venvs"))

    def environment(self, **more):
        mine = {"SAMESTREAM_BIN": str(self.program), "SAMESTREAM_PROJECT": str(self.project), "PYTHONDONTWRITEBYTECODE": "1"}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SAMESTREAM_")}
        return {**kept, **mine, **more}

    def tool(self, name, program):
        """Returns a program of a Python package, from a virtual environment or from the path."""
        made = self.venvs / name / "bin" / program
        if not made.exists() and self.install:
            run(sys.executable, "-m", "venv", self.venvs / name)
            run(self.venvs / name / "bin" / "pip", "-q", "install", *PACKAGES[name])
        found = str(made) if made.exists() else shutil.which(program)
        if not found:
            raise LeftOut(f"{program} is not installed; --install makes an environment with {', '.join(PACKAGES[name])}")
        return found

    def runs(self):
        said = subprocess.run([self.program, "runs", "list", "--limit", "0", "--format", "json"], cwd=self.project, capture_output=True, text=True, check=True)
        return json.loads(said.stdout)


def syntax(_):
    for path in sorted(FILES.glob("*.py")):
        ast.parse(path.read_text(), str(path))


def crontab(world):
    """Runs the line as cron does: with its variables, by its shell, in no folder of ours."""
    lines = [line for line in (FILES / "crontab").read_text().splitlines() if line and not line.startswith("#")]
    variables = dict(line.split("=", 1) for line in lines if re.match(r"[A-Z]+=", line))
    [command] = [line.split(None, 5)[5] for line in lines if line[0] in "*0123456789"]
    variables |= {"PROJECT": str(world.project), "SAMESTREAM": str(world.program)}
    pipeline = world.project / "pipelines" / "page_views.yaml"
    before = pipeline.read_text()
    pipeline.write_text(before + '\nschedules:\n  minutely: {cron: "* * * * *", timezone: UTC, reprocess: {from: "2026-01-01", to: "2026-01-02"}}\n')
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(world.folder), **variables}

    def minute(code=0):
        return run(variables["SHELL"], "-c", command, env=environment, cwd="/", code=code)

    # Nothing is due from before it is first seen; then it is, within a minute.
    until, said = time.monotonic() + 90, minute()
    while not world.runs():
        assert time.monotonic() < until, "nothing becomes due"
        time.sleep(2)
        said += minute()
    assert world.runs()[0]["outcome"] == "done", world.runs()
    assert said == "", f"cron would mail it each minute: {said}"
    # While another one does what is due, this one says nothing of it, and fails not.
    held = subprocess.Popen([world.program, "schedule", "start", "--quiet"], cwd=world.project, env=environment)
    try:
        until = time.monotonic() + 30
        while subprocess.run(["flock", "-n", world.project / ".samestream" / "schedule.lock", "true"], check=False).returncode == 0:
            assert time.monotonic() < until, "the daemon holds no lock"
            time.sleep(0.1)
        assert "E_STATE_BUSY" in minute()
    finally:
        held.terminate()
        assert held.wait() == 0, "SIGTERM ends it cleanly"
    # What is wrong is told, and the line fails; cron has no use for the code itself.
    pipeline.write_text(before.replace("page <> ''", "pgae <> ''") + "\nschedules: {}\n")
    assert "pgae" in minute(code=1)
    pipeline.write_text(before)


def systemd(world):
    if not shutil.which("systemd-analyze"):
        raise LeftOut("systemd-analyze is not there")
    # What it looks for must be there: the program, and a user.
    units = []
    for path in sorted(FILES.glob("*.service")) + sorted(FILES.glob("*.timer")):
        text = path.read_text().replace("/usr/local/bin/samestream", str(world.program)).replace("User=samestream", "User=root")
        unit = world.folder / path.name.replace("@.", "@page_views.")
        (world.folder / path.name).write_text(text)
        units.append(unit)
    said = run("systemd-analyze", "verify", "--man=no", *units)
    assert not re.search(r"Unknown|ignoring|Failed|not ", said), said
    # It would notice.
    wrong = world.folder / "wrong.service"
    wrong.write_text((world.folder / "samestream.service").read_text().replace("SuccessExitStatus=5", "SuccesExitStatus=5"))
    assert "Unknown key" in run("systemd-analyze", "verify", "--man=no", wrong, code=None)


def kubernetes(world):
    check = world.tool("kubernetes", "kubernetes-validate")
    manifests = sorted((FILES / "kubernetes").glob("*.yaml"))
    run(check, "--strict", *manifests)
    wrong = world.folder / "wrong.yaml"
    wrong.write_text(manifests[0].read_text().replace("concurrencyPolicy", "concurencyPolicy"))
    run(check, "--strict", wrong, code=1)


def airflow(world):
    program = world.tool("airflow", "airflow")
    home = world.folder / "airflow"
    more = {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "AIRFLOW__CORE__DAGS_FOLDER": str(FILES)}
    environment = world.environment(**more, SAMESTREAM_CRON="0 0 * * *", PATH=f"{Path(program).parent}:{os.environ['PATH']}")
    run(program, "db", "migrate", env=environment)
    before = len(world.runs())
    said = run(program, "dags", "test", "samestream_page_views", "2026-01-02T00:00:00+00:00", env=environment)
    assert "state=success" in said, said[-2000:]
    done = world.runs()[before:]
    assert [(found["from"], found["to"], found["outcome"]) for found in done] == [("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "done")], done
    assert done[0]["by"].startswith("airflow "), done
    # Nothing is in that day: exit code 2, for which nothing is repeated.
    said = run(program, "dags", "test", "samestream_page_views", "2026-03-02T00:00:00+00:00", env=environment, code=None)
    assert "AirflowFailException" in said and "ended with 2" in said, said[-2000:]
    assert [found["exit"] for found in world.runs()[before:]] == [0, 2]


def dagster(world):
    program = world.tool("dagster", "dagster")
    home = world.folder / "dagster"
    home.mkdir()
    (home / "dagster.yaml").touch()
    environment = world.environment(DAGSTER_HOME=str(home))
    before = len(world.runs())

    def day(date, code):
        return run(program, "asset", "materialize", "--select", "page_views", "--partition", date, "-f", FILES / "dagster_job.py", env=environment, code=code)

    assert "RUN_SUCCESS" in day("2026-01-01", 0)
    done = world.runs()[before:]
    assert [(found["from"], found["to"], found["outcome"]) for found in done] == [("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "done")], done
    said = day("2026-03-01", None)
    assert "exit code 2" in said and "RUN_FAILURE" in said and "STEP_RESTARTED" not in said, said[-2000:]
    assert [found["exit"] for found in world.runs()[before:]] == [0, 2]


CHECKS = [syntax, crontab, systemd, kubernetes, airflow, dagster]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--only", nargs="*", choices=[check.__name__ for check in CHECKS])
    arguments = parser.parse_args()
    left_out = []
    with tempfile.TemporaryDirectory() as folder:
        world = World(arguments.program, folder, arguments.install)
        for check in CHECKS:
            if arguments.only and check.__name__ not in arguments.only:
                continue
            begun = time.monotonic()
            try:
                check(world)
                print(f"{check.__name__}: as it should be ({time.monotonic() - begun:.1f} s)", flush=True)
            except LeftOut as why:
                left_out.append(check.__name__)
                print(f"{check.__name__}: left out: {why}", flush=True)
    if left_out and arguments.only:
        sys.exit(f"not tried: {', '.join(left_out)}")


if __name__ == "__main__":
    main()
