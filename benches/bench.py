"""Where a bench works: its folder, the binary, the peers' Python and jars, and the logs that all engines read."""
import argparse, glob, os, subprocess, sys
from dataclasses import dataclass

import measure

HERE = os.path.dirname(os.path.abspath(__file__))
THREADS = 2


@dataclass(frozen=True)
class Log:
    """The same records twice: as a lake and as a topic."""

    events: int
    lake: str
    topic: str


@dataclass(frozen=True)
class Bench:
    """A folder to work in, and what is measured in it."""

    folder: str
    samestream: str
    brokers: str | None = None

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    @property
    def python(self):
        """The Python that the peers are installed for."""
        return self.path("peers", "venv", "bin", "python")

    def packages(self, name):
        """Returns the folder of an installed Python package."""
        found = glob.glob(self.path("peers", "venv", "lib", "python3*", "site-packages", name))
        if not found:
            raise measure.Failed(f"{name} is not installed")
        return found[0]

    def empty(self, name):
        """Removes what an earlier run left at a path of the folder, and returns the path."""
        path = self.path(name)
        subprocess.run(["rm", "-rf", path], check=True)
        return path

    def module(self, name, *arguments):
        """Returns the command that runs a module of benches/ with the peers' Python."""
        return [self.python, "-m", name, *map(str, arguments)]

    def log(self, name, events, *options, topic=False, partitions=4):
        """Returns a log that `samestream gen` makes once, without bad records or repetitions: a lake, and a topic if wanted."""
        log = Log(events, self.path(name), f"{os.path.basename(self.folder)}-{name}")
        self.make(name, f"lake:{log.lake}", events, "--partitions", str(partitions), *options)
        if topic:
            mark = f"{name}-{self.brokers.replace(':', '-')}"
            self.make(mark, f"kafka:{self.brokers}/{log.topic}", events, "--partitions", str(partitions), *options)
        return log

    def make(self, mark, target, events, *options):
        """Fills a lake, topic or journal, unless a mark says that this is done."""
        if not os.path.exists(self.path(f"{mark}.made")):
            subprocess.run([self.samestream, "gen", "--to", target, "--events", str(events), "--bad", "0%", "--duplicates", "0%", "-q", *options], check=True)
            open(self.path(f"{mark}.made"), "w").close()


def rows(path):
    """Returns how many rows a Parquet file or the files of a folder hold; None if there are none.

    In a process of its own, because the peak that the system tells of a child is never less than what its parent occupies.
    """
    found = files(path)
    count = "import duckdb, sys; duckdb.sql('set enable_progress_bar = false'); print(duckdb.sql(f'select sum(num_rows) from parquet_file_metadata({sys.argv[1:]})').fetchall()[0][0])"
    return int(subprocess.run([sys.executable, "-c", count, *found], check=True, capture_output=True).stdout) if found else None


def files(path):
    """Returns the file, or those below a folder, without what has a name that begins with `_` or `.`."""
    if os.path.isfile(path):
        return [path]
    found = (os.path.join(at, name) for at, _, names in os.walk(path) if "/_" not in at[len(path):] for name in names if name[0] not in "_.")
    return sorted(file for file in found if os.path.getsize(file) > 0)


def arguments(about):
    """Returns a parser with the options that every bench has."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", default="bench", help="the folder to work in (default: bench)")
    parser.add_argument("--samestream", default="target/release/samestream")
    parser.add_argument("--brokers", help="HOST:PORT of a Kafka broker, as tests/services/kafka.sh starts one")
    return parser


def begin(options, engines=()):
    """Returns the bench that options describe, with the peers that it needs installed."""
    bench = Bench(os.path.abspath(options.work), os.path.abspath(options.samestream), options.brokers)
    os.makedirs(bench.folder, exist_ok=True)
    if engines and not sys.flags.no_site and os.path.abspath(sys.prefix) != bench.path("peers", "venv"):
        import install

        install.peers(bench, engines)
        # This process reads results with DuckDB, which the peers' Python has.
        os.execv(bench.python, [bench.python, *sys.argv])
    return bench
