#!/usr/bin/env python3
"""Computes every step of steps.yaml again, in DuckDB over the lake's Parquet, with the law written as SQL.

    python3 tests/oracle/steps.py SAMESTREAM [FOLDER]

SAMESTREAM is the program. Four logs are made – two by `samestream gen`, two here, whose times are whole five minutes, so
that many lie on edges – and archived; the pipeline then runs as a stream over the journals and as a batch job over the
lake, to several ends. Of each step its rows with `final`, and what it kept aside as late or bad, must be the same in both
modes and what the SQL below says. All times are microseconds since 1970. The words of the law that the SQL stands for are
beside it.
"""
import json, os, random, re, shutil, subprocess, sys, tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path
import duckdb  # and pytz, for its times with zones

PROGRAM = os.path.abspath(sys.argv[1])
HERE = Path(__file__).resolve().parent
SECOND = 1_000_000
MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86_400 * SECOND
SOURCES = {  # event time, its bound of disorder, the other columns
    "clicks": ("event_time", 30 * SECOND, "event_id, user_id, page, action, amount"),
    "views": ("event_time", 20 * SECOND, "event_id, user_id, page, action, amount"),
    "bids": ("at", HOUR, "id, item, price"),
    "rates": ("at", 30 * MINUTE, "thing, rate"),
}


def run(*arguments):
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"samestream {' '.join(map(str, arguments))}\n{done.stderr}")


# --- The logs -----------------------------------------------------------------------------------------------------------

ITEMS = [None, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7]


def disordered(seed, records, until, backwards):
    """Yields (time, chance) with times of whole five minutes from 2026-03-20 on, mostly rising."""
    chance, start = random.Random(seed), datetime(2026, 3, 20, tzinfo=timezone.utc)
    span = (until - start) // timedelta(minutes=5)
    for number in range(records):
        back = chance.choice([0, 0, 0, 1, 2, 4, 8, backwards]) if chance.random() > 0.08 else chance.randrange(chance.choice([40, 400]))
        yield start + timedelta(minutes=5 * (span * number // records - back)), chance


def write_log(path, records, seed):
    """Writes lines in this order; now and then one that is no record, or one that has no time."""
    chance = random.Random(seed)
    with open(path, "w") as file:
        for record in records:
            if chance.random() < 0.01:
                file.write(chance.choice(["no JSON\n", json.dumps({**record, "at": None}) + "\n"]))
            file.write(json.dumps(record) + "\n")


def bids():
    known = []
    for time, chance in disordered(3, 4000, datetime(2026, 4, 4, tzinfo=timezone.utc), 13):
        # An id comes again with another price, in any partition.
        id = chance.choice(known[-30:]) if known and chance.random() < 0.1 else f"b{len(known)}"
        known.append(id)
        price = None if chance.random() < 0.05 else chance.randrange(100)
        yield {"id": id, "item": chance.choice(ITEMS), "price": price, "at": f"{time:%Y-%m-%dT%H:%M:%SZ}"}


def rates():
    for time, chance in disordered(4, 900, datetime(2026, 4, 2, tzinfo=timezone.utc), 7):
        yield {"thing": chance.choice(ITEMS + [8, 9]), "rate": chance.randrange(100), "at": f"{time:%Y-%m-%dT%H:%M:%SZ}"}


def make(folder):
    """Makes the logs and the lake. Returns the steps of the pipeline and the options to run it with."""
    gen = ["gen", "-q", "--keys", 40, "--late", "4%", "--duplicates", "5%", "--bad", "0.5%"]
    run(*gen, "--to", f"journal:{folder}/journal/clicks", "--seed", 1, "--events", 9000, "--rate", 8, "--partitions", 3)
    run(*gen, "--to", f"journal:{folder}/journal/views", "--seed", 2, "--events", 7500, "--rate", 6, "--partitions", 2)
    for name, records, partitions in [("bids", bids(), 3), ("rates", rates(), 2)]:
        write_log(f"{folder}/{name}.jsonl", records, 5)
        run("append", "-q", f"{folder}/journal/{name}", f"{folder}/{name}.jsonl", "--partitions", partitions)
    with open(f"{folder}/items.csv", "w") as file:
        file.write("number,name,floor\n" + "".join(f"{i},item {i},{i * 10 if i % 3 else ''}\n" for i in range(6)))
    text = (HERE / "steps.yaml").read_text()
    steps = re.findall(r"^  (\w+):", text.split("\nsteps:\n")[1], re.M)
    sinks = "".join(f"  {step}: {{from: {step}, parquet: {{path: \"out/{step}\"}}}}\n" for step in steps)
    Path(f"{folder}/steps.yaml").write_text(f"{text}\nsinks:\n{sinks}")
    options = [f"{folder}/steps.yaml", "--set", f"vars.DATA={folder}", "-q"]
    for source in SOURCES:
        run("archive", *options, "--source", source, "--until-caught-up")
    return steps, options


def run_both(folder, options, ends):
    """Runs the pipeline in both modes up to these offsets."""
    cut = ";".join(f"{source}:" + ",".join(f"{p}={o}" for p, o in offsets.items()) for source, offsets in ends.items())
    for mode in ["stream", "batch"]:
        shutil.rmtree(f"{folder}/state", ignore_errors=True) if mode == "stream" else None
        shutil.rmtree(f"{folder}/{mode}", ignore_errors=True)
        run("run", *options, "--mode", mode, "--end", cut, "--out", f"{folder}/{mode}", "--state-dir", f"{folder}/state",
            "--summary", f"{folder}/{mode}.json")


# --- The law in SQL -----------------------------------------------------------------------------------------------------


class Law:
    """Tables of records and of steps: `source`, partition `p`, offset `o`, event time `t`, `w`, whether `final`; columns."""

    def __init__(self, folder, ends=None):
        """Reads the records of the lake, those before an end only, where there is one."""
        self.db = duckdb.connect()
        self.db.execute("set TimeZone = 'UTC'")
        self.db.execute("create macro last_start(t, every, shift) as t - (((t - shift) % every) + every) % every")
        self.folder = folder
        # What no row to come can be before; of a source that is G, the least W of its partitions.
        self.complete = {}
        # By name and kind: the places of what is kept aside.
        self.aside = {}
        # The steps that must have rows that are not final, or their edge is not looked at.
        self.open = set()
        # Where each partition ends.
        self.ends = ends or {}
        for source, (time, bound, columns) in SOURCES.items():
            files = f"read_parquet('{folder}/lake/{source}/partition=*/*.parquet', hive_partitioning = false)"
            if not ends:
                self.ends[source] = dict(self.all(f"select _partition, max(_offset) + 1 from {files} group by all"))
            before = " or ".join(f"_partition = {p} and _offset < {o}" for p, o in self.ends[source].items())
            files = f"(from {files} where {before})"
            # M is the largest event time among the valid records of the partition before this one, before any filter.
            self.db.execute(f"""
                create table {source} as select '{source}' as source, _partition as p, _offset as o, epoch_us("{time}") as t,
                       {columns}, true as final, max(epoch_us("{time}")) over (partition by _partition order by _offset
                       rows between unbounded preceding and 1 preceding) - {bound} as w
                from {files} where _bad is null""")
            self.aside[source, "bad"] = f"select _partition, _offset from {files} where _bad is not null"
            least, partitions = self.one(f"""select min(m), count(*) from
                (select max(t) - {bound} as m from {source} group by p)""")
            folders = len(list(Path(f"{folder}/lake/{source}").glob("partition=*")))
            assert folders == partitions, f"a partition of {source} has no records"
            self.complete[source] = least

    def all(self, sql):
        return self.db.execute(sql).fetchall()

    def one(self, sql):
        return self.all(sql)[0]

    def step(self, name, sql, complete, late=None, is_open=True):
        """Notes what a step gives: its rows; what its readers know to be complete; the records that are late for it."""
        if is_open:
            self.open.add(name)
        self.db.execute(f"create table {name} as {sql}")
        self.complete[name] = complete
        if late:
            self.aside[name, "late"] = late

    def record_windows(self, name, over, lists, lateness=0):
        """Each record in each window that holds it: `s`, `e`, and whether it is accepted: e + A > W. Late are records that
        are late for all their windows."""
        self.db.execute(f"create table {name}_in as select r.*, s, e, w is null or e + {lateness} > w as accepted "
                        f"from ({over}) r, lateral {lists} windows")
        return f"{name}_in", f"""
            select p as _partition, o as _offset from {name}_in group by source, p, o having not bool_or(accepted)"""

    def window(self, name, over, lists, keys, outputs, inputs, lateness=0, rest=""):
        """A window aggregate over records: final iff G >= end + A. Its readers see what is complete up to G − A."""
        rows, late = self.record_windows(name, over, lists, lateness)
        least = min(self.complete[source] for source in inputs)
        self.step(name, grouped(f"(select * from {rows} where accepted)", keys, outputs, f"{least} >= e + {lateness}", rest),
                  least - lateness, late)

    def window_over_step(self, name, over, lists, keys, outputs, inputs, rest=""):
        """A window aggregate over rows of steps: final iff C >= end. At the end it reads the rows that are not final too."""
        complete = min(self.complete[step] for step in inputs)
        rows = f"(select r.*, s, e from ({over}) r, lateral {lists} windows)"
        self.step(name, grouped(rows, keys, outputs, f"{complete} >= e", rest), complete)

    def session(self, name, over, gap, keys, outputs, inputs, lateness=0, of_records=True):
        """Rows of a key less than `gap` apart are together. Accepted: t + A >= W; final: G >= last + gap + A."""
        complete = min(self.complete[source] for source in inputs)
        self.db.execute(f"create table {name}_in as select *, "
                        f"{f'w is null or t + {lateness} >= w' if of_records else 'true'} as accepted from ({over})")
        late = f"select p as _partition, o as _offset from {name}_in where not accepted" if of_records else None
        self.step(name, f"""
            select *, {complete} >= window_end + {lateness} as final, window_end - 1 as t, '{name}' as source
            from (select min(t) as window_start, max(t) + {gap} as window_end, {keys}, {outputs}
                  from (select *, sum(starts) over (partition by {keys} order by t rows unbounded preceding) as number
                  from (select *, (t - lag(t) over (partition by {keys} order by t) < {gap} is not true)::int as starts
                        from {name}_in where accepted))
                  group by {keys}, number)""", complete - lateness, late)

    def side_lates(self, *lates):
        """Returns the late records of both sides, each with its side."""
        return " union all ".join(f"select *, '{side}' as _side from ({sql})" for side, sql in zip(["left", "right"], lates) if sql)

    def window_join(self, name, left, right, lists, on, kind, columns, where="true", of_records=True):
        """All pairs of accepted rows of both sides by key and window; final when both sides are past the end."""
        complete = min(self.complete[left], self.complete[right])
        rows, lates = [], []
        for side, over in [("left", left), ("right", right)]:
            if of_records:
                table, late = self.record_windows(f"{name}_{side}", f"from {over}", lists)
                rows.append(f"(select * from {table} where accepted)")
                lates.append(late)
            else:
                rows.append(f"(select r.*, s, e from {over} r, lateral {lists} windows)")
        self.step(name, f"""
            select * from (
                select coalesce(l.s, r.s) as window_start, coalesce(l.e, r.e) as window_end, {columns},
                       {complete} >= coalesce(l.e, r.e) as final, coalesce(l.e, r.e) - 1 as t, '{name}' as source
                from {rows[0]} l {kind} join {rows[1]} r on l.s = r.s and l.e = r.e and {on})
            where {where}""", complete, self.side_lates(*lates) if of_records else None)

    def points(self, name, side, over):
        """A side of a join without a window: a record is accepted iff t >= W."""
        self.db.execute(f"create table {name}_{side} as select *, row_number() over () as id_, "
                        f"{'w is null or t >= w' if over in SOURCES else 'true'} as accepted from {over}")
        late = f"select p as _partition, o as _offset from {name}_{side} where not accepted" if over in SOURCES else None
        return f"(select * from {name}_{side} where accepted)", late

    def within(self, name, left, right, before, after, on, kind, columns, where="true"):
        """All pairs with left − before <= right <= left + after. A pair is final when its rows are; a row without a partner
        when the other side is past all that could be one. Its event time is then behind what the other side is complete
        up to, by as much as the bound: so much less is complete for readers."""
        (l, late_left), (r, late_right) = self.points(name, "left", left), self.points(name, "right", right)
        complete = [self.complete[left], self.complete[right]]
        seen = [complete[0] - (before if kind in ("right", "full") else 0), complete[1] - (after if kind in ("left", "full") else 0)]
        self.step(name, f"""
            select * from (
                select {columns}, case when r.t is null then l.final and {complete[1]} > l.t + {after}
                                       when l.t is null then r.final and {complete[0]} > r.t + {before}
                                       else l.final and r.final end as final,
                       greatest(coalesce(l.t, r.t), coalesce(r.t, l.t)) as t, '{name}' as source
                from {l} l {kind} join {r} r on {on} and r.t between l.t - {before} and l.t + {after})
            where {where}""", min(seen), self.side_lates(late_left, late_right), kind != "inner")

    def as_of(self, name, left, right, keys, kind, columns, max_age=None):
        """Each left row with the right row of the largest (t, p, o) of its key that is not after it, unless that is older
        than max_age; final when the right side is past the left row. Written plainly, and with DuckDB's ASOF JOIN."""
        (l, late_left), (r, late_right) = self.points(name, "left", left), self.points(name, "right", right)
        mine, other = keys
        young = f"l.t - r.t <= {max_age}" if max_age else "true"
        rows = lambda versions: f"""
            select {columns}, l.final and {self.complete[right]} > l.t as final, l.t as t, '{name}' as source
            from {l} l {kind} join ({versions}) r on l.id_ = r.left_ and {young}"""
        self.step(name, rows(f"""
            select r.*, l.id_ as left_ from {l} l join {r} r on l.{mine} = r.{other} and r.t <= l.t
            qualify row_number() over (partition by l.id_ order by r.t desc, r.source desc, r.p desc, r.o desc) = 1"""),
            min(self.complete[left], self.complete[right]), self.side_lates(late_left, late_right))
        last = f"select * from {r} where {other} is not null qualify row_number() over (partition by {other}, t order by p desc, o desc) = 1"
        asof = rows(f"select r.*, l.id_ as left_ from {l} l asof join ({last}) r on l.{mine} = r.{other} and l.t >= r.t")
        assert not differences(self.db, f"from {name}", asof), f"{name}: DuckDB's ASOF JOIN says something else"

    def dedup(self, name, over, key, within, columns, inputs):
        """In the offset order of a partition, among the rows that reach the step: a repetition iff
        m + within > max(t, W), m being the largest event time of the earlier rows with the id, kept or not."""
        self.step(name, f"""
            select * exclude (m) from (
                select *, max(t) over (partition by source, p, {key} order by o
                                       rows between unbounded preceding and 1 preceding) as m from ({over}))
            where (m + {within} > greatest(t, coalesce(w, t))) is not true""", min(self.complete[source] for source in inputs), is_open=False)


def grouped(rows, keys, outputs, final, rest):
    keyed = f"{keys}, " if keys else ""
    return f"""
        select *, window_end - 1 as t, '' as source from (
            select s as window_start, e as window_end, {keyed}{outputs}, {final} as final from {rows} group by all) {rest}"""


def fixed(size, every=None, shift=0):
    """The windows that hold t: [s, s + size), one beginning at every multiple of `every` since 1970 plus the offset."""
    every = every or size
    return (f"(select last_start(t, {every}, {shift}) - k * {every} as s, s + {size} as e "
            f"from range({size // every + 1}) ks(k) where s > t - {size})")


def cumulative(size, step):
    return f"(select last_start(t, {size}, 0) as s, s + k * {step} as e from range(1, {size // step + 1}) ks(k) where e > t)"


def calendar(unit, zone):
    at = lambda local: f"epoch_us(timezone('{zone}', {local}))"
    first = f"date_trunc('{unit}', timezone('{zone}', make_timestamptz(t)))::timestamp"
    return f"(select {at(first)} as s, {at(f'({first} + interval 1 {unit})::timestamp')} as e)"


SAME = "(select window_start as s, window_end as e)"
RECORD_ORDER = "order by t, source, p, o"


def differences(db, expected, found):
    """Returns rows that are in one table only, each as often as that: up to three a side, and how many."""
    names = columns_of(db, found)
    columns = ", ".join(f'"{name}"' for name in names)
    there = []
    for what, one, other in [("missing", expected, found), ("too much", found, expected)]:
        rows = db.execute(f"select {columns} from ({one}) except all select {columns} from ({other})").fetchall()
        there += [f"{len(rows)} rows {what}: {names}"] * bool(rows) + [f"   {row}" for row in sorted(rows, key=str)[:3]]
    return there


# --- The steps ----------------------------------------------------------------------------------------------------------


def compute(law, folder):
    both = "from clicks union all by name from views"

    law.dedup("fresh_clicks", "from clicks", "event_id", 2 * MINUTE, "*", ["clicks"])
    law.dedup("paused_bids", "from bids where price is null or price > 5", "item", 30 * MINUTE, "*", ["bids"])
    law.dedup("paused_pages", f"select *, source as site from ({both}) where action <> 'view'", "page", 90 * SECOND, "*", ["clicks", "views"])

    ends = f"first(event_id {RECORD_ORDER}) as one, last(event_id {RECORD_ORDER}) as \"end\""
    law.window("per_page", "from fresh_clicks", fixed(MINUTE), "page",
               f"count(*) as n, count(amount) as paid, max(amount) as most, {ends}", ["clicks"])
    law.window("per_site", f"select *, source as site from ({both}) where user_id % 3 <> 0", fixed(90 * SECOND, shift=30 * SECOND),
               "site, action", f"count(*) as n, count(distinct user_id) as users, {ends}", ["clicks", "views"])
    law.window("hops", "from clicks", fixed(3 * MINUTE, MINUTE, 20 * SECOND), "upper(action) as kind",
               "count(*) as n, min(user_id) as least", ["clicks"], 2 * MINUTE, "where n % 5 <> 0")
    law.window("grown", "from clicks", cumulative(5 * MINUTE, MINUTE), "action", "count(*) as n", ["clicks"])
    law.window("whole", "from clicks", fixed(2 * MINUTE), "", "count(*) as n, sum(user_id)::bigint as spent", ["clicks"])
    law.window("days", "from bids", calendar("day", "Europe/Berlin"), "item", "count(*) as n, sum(price)::bigint as total", ["bids"])
    law.window("weeks", "from bids", calendar("week", "America/New_York"), "", "count(*) as n", ["bids"])
    law.window("months", "from bids", calendar("month", "Asia/Kathmandu"), "", "count(*) as n", ["bids"])

    # An id counts once in its window, whatever partitions and groups its copies are in: the first of the accepted ones.
    rows, late = law.record_windows("once", "from bids", fixed(6 * HOUR))
    first = f"(select * from {rows} where accepted qualify row_number() over (partition by s, id {RECORD_ORDER}) = 1)"
    law.step("once", grouped(first, "item", "count(*) as n, sum(price)::bigint as total, count(*) filter (price > 50) as dear",
                             f"{law.complete['bids']} >= e", ""), law.complete["bids"], late)

    # Null is the least value; ties go to the lesser key, column by column.
    law.window("busiest", "from bids", fixed(6 * HOUR), "item, price > 50 as dear", "count(*) as n, min(price) filter (price < 30) as least", ["bids"], rest="""
        qualify row_number() over (partition by window_start, dear order by n desc, least asc nulls first,
                                   item asc nulls first, dear asc nulls first) <= 2""")
    law.window("tied", "from bids", fixed(3 * HOUR), "item", "count(*) as n, min(price) as least", ["bids"], rest="""
        where n > 1 qualify rank() over (partition by window_start order by n desc) <= 2""")

    ids = f"first(id {RECORD_ORDER}) as one, last(id {RECORD_ORDER}) as \"end\""
    law.session("sittings", "from bids", 2 * HOUR, "item", f"count(*) as n, sum(price)::bigint as total, {ids}", ["bids"], 90 * MINUTE)
    law.session("visits", both, 40 * SECOND, "user_id", "count(*) as n", ["clicks", "views"])

    on = "l.item = r.thing"
    item = "coalesce(l.item, r.thing) as item"
    bid_and_rate = f"{item}, l.id, l.price, r.rate, l.t as bid_at, r.t as rate_at"
    law.window_join("window_inner", "bids", "rates", fixed(2 * HOUR), on, "inner", bid_and_rate)
    law.window_join("window_left", "bids", "rates", fixed(2 * HOUR), on, "left", bid_and_rate, "rate is null or price > rate")
    law.window_join("window_right", "bids", "rates", fixed(2 * HOUR, HOUR), on, "right", bid_and_rate)
    law.window_join("window_full", "bids", "rates", calendar("day", "Europe/Berlin"), on, "full", bid_and_rate, "item is null or item % 4 = 0")
    law.window_join("every_pair", "rates", "bids", fixed(HOUR), "true", "inner", "r.id, l.thing, r.item, l.rate")
    law.window_join("both_sites", "clicks", "views", fixed(MINUTE), "l.user_id = r.user_id and l.page = r.page", "inner",
                    "l.user_id, l.page, l.event_id as click, r.event_id as view")

    law.within("near_inner", "bids", "rates", HOUR, 30 * MINUTE, on, "inner", bid_and_rate)
    law.within("near_left", "bids", "rates", HOUR, 30 * MINUTE, on, "left", bid_and_rate)
    law.within("near_right", "bids", "rates", 0, 30 * MINUTE, on, "right", bid_and_rate)
    law.within("near_full", "bids", "rates", 20 * MINUTE, 0, on, "full", bid_and_rate)
    law.within("near_views", "clicks", "views", 20 * SECOND, 5 * SECOND, "l.user_id = r.user_id and l.page = r.page", "right",
               "r.user_id, r.page, l.event_id as click, r.event_id as view")
    law.within("next_clicks", "clicks", "clicks", 0, 3 * SECOND, "l.user_id = r.user_id", "inner",
               "l.user_id, l.event_id as one, r.event_id as next, r.t - l.t as pause", "one <> next")
    keys = ("item", "thing")
    law.as_of("rated_left", "bids", "rates", keys, "left", bid_and_rate)
    law.as_of("rated_inner", "bids", "rates", keys, "inner", bid_and_rate)
    law.as_of("rated_soon_left", "bids", "rates", keys, "left", bid_and_rate, 2 * HOUR)
    law.as_of("rated_soon_inner", "bids", "rates", keys, "inner", bid_and_rate, 2 * HOUR)
    law.as_of("last_click", "views", "clicks", ("user_id", "user_id"), "left", "l.user_id, l.event_id as view, r.event_id as click", MINUTE)

    items = f"read_csv('{folder}/items.csv', header = true, columns = {{'number': 'BIGINT', 'label': 'VARCHAR', 'floor': 'BIGINT'}})"
    law.step("named", f"select b.*, label, floor from bids b left join {items} on item = number", law.complete["bids"], is_open=False)
    law.step("known", f"select b.*, label from bids b join {items} on item = number", law.complete["bids"], is_open=False)
    law.step("sure", f"select b.*, coalesce(floor, 0) + number as floor from bids b join {items} on item = number where price > 20", law.complete["bids"], is_open=False)
    law.aside["sure", "bad"] = f"select p as _partition, o as _offset from bids b anti join {items} on item = number where price > 20"

    law.window("bid_hours", "from bids", fixed(HOUR), "item", "count(*) as n, max(price) as high", ["bids"], 30 * MINUTE)
    law.window("rate_hours", "from rates", fixed(HOUR), "thing as item", "count(*) as n, max(rate) as high", ["rates"])
    order = "order by window_end, window_start, source, item nulls first"
    law.window_over_step("bid_days", "from bid_hours", fixed(DAY), "item",
                         f"count(*) as hours, sum(n)::bigint as n, last(high {order}) filter (high is not null) as \"end\"", ["bid_hours"])
    law.window_over_step("top_days", "from bid_days where n > 1", SAME, "hours", "count(*) as items, sum(n)::bigint as n", ["bid_days"],
                         "qualify row_number() over (partition by window_start order by n desc, hours) <= 3")
    hours = " union all ".join(f"select * replace ('{step}' as source) from {step}" for step in ["bid_hours", "rate_hours"])
    law.window_over_step("all_hours", hours, fixed(6 * HOUR), "", f"""sum(n)::bigint as n,
                         first(high {order}) filter (high is not null) as one, last(high {order}) filter (high is not null) as "end",
                         last(source {order}) as of""", ["bid_hours", "rate_hours"])
    law.window("known_days", "from known", fixed(DAY), "label", "count(*) as n", ["bids"])
    law.window_over_step("sitting_days", "from sittings", fixed(DAY), "item", "count(*) as sittings, sum(n)::bigint as n", ["sittings"])
    law.session("pauses", "from bid_hours where n > 1", 3 * HOUR, "item", "sum(n)::bigint as n", ["bid_hours"], of_records=False)
    law.window_over_step("pair_days", "from near_full", fixed(DAY), "item", "count(*) as pairs, count(id) as bids, count(rate) as rates", ["near_full"])
    law.window_over_step("rated_days", "from rated_left", fixed(DAY), "item", "count(*) as n, count(rate) as rated", ["rated_left"])
    law.window_join("hours_same", "bid_hours", "rate_hours", SAME, "l.item = r.item", "full",
                    "coalesce(l.item, r.item) as item, l.n as bids, r.n as rates", of_records=False)
    law.within("hours_near", "bid_hours", "rates", 10 * MINUTE, 25 * MINUTE, on, "full",
               f"{item}, l.n, r.rate, l.window_start as start, r.t as rate_at")
    law.as_of("hours_rated", "bid_hours", "rates", keys, "left",
              "l.item, l.window_start, l.window_end, l.n, l.high, r.rate, r.t as \"at\"", 90 * MINUTE)


def edges(folder):
    """Yields ends at which the least W of a source stands on an edge of what some steps look at, the whole logs first."""
    law = Law(folder)
    yield law.ends
    alone = lambda other, on, near: f"not exists (from {other} b where {on} and {near})"
    for wanted in [
        # A window ends there, and a bid waits for a rate of its own time.
        {"bids": f"g % {6 * HOUR} = 0", "rates": "g in (select t from bids)"},
        # A day ended a little before; a rate has just met all bids that it could.
        {"bids": f"""g % {DAY} = {10 * MINUTE} and exists (from rates r where r.t = g - {20 * MINUTE} and
                     {alone("bids", "b.item = r.thing", f"b.t between r.t and r.t + {20 * MINUTE}")})"""},
        # The other way round.
        {"rates": f"""exists (from bids l where l.t = g - {30 * MINUTE} and
                      {alone("rates", "l.item = b.thing", f"b.t between l.t - {HOUR} and l.t + {30 * MINUTE}")})"""},
    ]:
        ends = dict(law.ends)
        for source, condition in wanted.items():
            bound = SOURCES[source][1]
            p, o = law.one(f"""select p, o + 1 from (select *, t - {bound} as g from {source} where t - {bound} > w)
                               where {condition} order by abs(o - {300 if source == 'rates' else 800}) limit 1""")
            ends[source] = {**ends[source], p: o}
        yield ends


# --- The comparison -----------------------------------------------------------------------------------------------------


def found(db, path):
    """Makes a table of what a run wrote, with times in microseconds, and returns its columns."""
    files = f"read_parquet('{path}/*.parquet')"
    columns = [f'epoch_us("{column}") as "{column}"' if "ZONE" in kind else f'"{column}"'
               for column, kind, *_ in db.execute(f"describe from {files}").fetchall()]
    db.execute(f"create or replace table found as select {', '.join(columns)} from {files}")
    return columns_of(db, "from found")


def as_written(name, columns):
    """Returns a step's rows with the columns of its sink: that of records has their places and event time."""
    if "_offset" not in columns:
        return f"from {name}"
    named = {"_partition": "p", "_offset": "o", "at": "t", "event_time": "t"}
    columns = [f'{named.get(column, column)} as "{column}"' for column in columns]
    return f"select {', '.join(columns)} from {name}"


def compare(folder, steps, law):
    """Returns how the runs differ from each other and from what was computed, in words."""
    db, wrong = law.db, []
    summaries = [json.load(open(f"{folder}/{mode}.json")) for mode in ["stream", "batch"]]
    for key in sorted(summaries[0].keys() | summaries[1].keys()):
        stream, batch = (summary.get(key) for summary in summaries)
        if key.startswith(("digest", "rows_")) and (stream is None or stream != batch):
            wrong.append(f"{key} differs between the modes: {stream}, {batch}")
    for mode in ["stream", "batch"]:
        for name in steps:
            columns = found(db, f"{folder}/{mode}/{name}")
            expected = as_written(name, columns)
            in_order = [column for column in columns_of(db, expected) if column in columns]
            wrong += [f"{name}, {mode}: the columns are {columns}, not {in_order}"] * (columns != in_order)
            wrong += [f"{name}, {mode}: {line}" for line in differences(db, expected, "from found")]
        for (name, kind), expected in law.aside.items():
            found(db, f"{folder}/state/steps/{mode}/{kind}/{name}")
            there = f"select {', '.join(columns_of(db, expected))} from found"
            wrong += [f"{name}.{kind}, {mode}: {line}" for line in differences(db, expected, there)]
    return wrong


def main(folder):
    steps, options = make(folder)
    wrong, counts, runs = [], {}, 0
    for ends in edges(folder):
        run_both(folder, options, ends)
        law = Law(folder, ends)
        compute(law, folder)
        unknown = set(steps) ^ (law.complete.keys() - SOURCES.keys())
        assert not unknown, f"not in both the pipeline and this file: {unknown}"
        wrong += compare(folder, steps, law)
        runs += 2
        for name in steps:
            counts.setdefault(name, []).append(law.one(f"select count(*), count(*) filter (final) from {name}"))
        for (name, kind), expected in law.aside.items():
            counts.setdefault(f"{name}.{kind}", []).append((law.one(f"select count(*) from ({expected})")[0], None))
    for name, of_runs in counts.items():
        rows = sum(rows for rows, _ in of_runs)
        if of_runs[0][1] is None:
            print(f"{name}: {rows:,} rows")
            wrong += [f"{name}: no rows"] * (not rows)
        else:
            finals = sum(finals for _, finals in of_runs)
            print(f"{name}: {rows:,} rows, {finals:,} of them final")
            wrong += [f"{name}: no final row"] * (not finals)
            wrong += [f"{name}: all rows are final"] * (name in law.open and finals == rows)
    for line in wrong:
        print(line, file=sys.stderr)
    print(f"{len(steps)} steps and {len(counts) - len(steps)} sets of late and bad rows in {runs} runs: {len(wrong)} differences")
    return 1 if wrong else 0


def columns_of(db, sql):
    return [row[0] for row in db.execute(f"describe {sql}").fetchall()]


if len(sys.argv) > 2:
    os.makedirs(sys.argv[2])
    sys.exit(main(os.path.abspath(sys.argv[2])))
with tempfile.TemporaryDirectory() as folder:
    sys.exit(main(folder))
