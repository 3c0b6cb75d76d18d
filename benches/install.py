"""Installs the peers below the folder of a bench: Python packages from PyPI into one environment, jars from Maven Central."""
import importlib, os, shutil, subprocess, sys

POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>samestream.bench</groupId><artifactId>{name}</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>{dependencies}</dependencies>
</project>
"""
DEPENDENCY = "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"
# What the benches themselves need: DuckDB reads results, the Kafka client produces and consumes.
OWN = ["duckdb==2.0.0", "confluent-kafka==2.16.1"]


def peers(bench, names):
    """Installs what these engines need and what is not there yet. What cannot be had is said, and left to whoever asks that engine."""
    engines = [importlib.import_module(f"engines.{name}") for name in names]
    folder = bench.path("peers")
    os.makedirs(folder, exist_ok=True)
    if not os.path.exists(bench.python):
        subprocess.run([sys.executable, "-m", "venv", f"{folder}/venv"], check=True)
    python(bench, folder, OWN)
    for engine in engines:
        name = engine.__name__.rpartition(".")[2]
        try:
            python(bench, folder, engine.PACKAGES)
            if engine.JARS:
                jars(f"{folder}/{name}", engine.JARS, engine.JARS_ALONE)
        except (subprocess.CalledProcessError, Missing) as error:
            print(f"{name} is not installed: {error}", file=sys.stderr)


class Missing(Exception):
    """A program that an installation needs is not there."""


def python(bench, folder, packages):
    """Installs Python packages that are not there yet."""
    if any(not os.path.exists(mark(folder, package)) for package in packages):
        subprocess.run([bench.python, "-m", "pip", "install", "-q", *packages], check=True)
        for package in packages:
            open(mark(folder, package), "w").close()


def mark(folder, package):
    return f"{folder}/{package.replace('/', '-')}.installed"


def jars(folder, coordinates, alone):
    """Copies jars into folder/jars, without what they depend on where they are to stand `alone`."""
    if os.path.exists(f"{folder}/jars.installed"):
        return
    if not shutil.which("mvn"):
        raise Missing("mvn is not on PATH")
    os.makedirs(folder, exist_ok=True)
    dependencies = "".join(DEPENDENCY.format(*coordinate.split(":")) for coordinate in coordinates)
    with open(f"{folder}/pom.xml", "w") as pom:
        pom.write(POM.format(name=os.path.basename(folder), dependencies=dependencies))
    subprocess.run(["mvn", "-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", f"-DexcludeTransitive={str(alone).lower()}",
                    f"-DoutputDirectory={folder}/jars"], cwd=folder, stdout=subprocess.DEVNULL, check=True)
    open(f"{folder}/jars.installed", "w").close()
