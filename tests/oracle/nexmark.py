#!/usr/bin/env python3
"""Checks every query of pipelines/nexmark against an independent engine: DuckDB over the same events, with the law as SQL.

    python3 tests/oracle/nexmark.py SAMESTREAM FOLDER [--events N] [--seed N]

Run in the project's folder. SAMESTREAM is the program, FOLDER a new folder for the log, the lake and the results. The
program makes a log of Nexmark events, archives it, and runs every query as a stream over the journal and as a batch job
over the lake. Both must say the same digests, and both sinks and late sets must be what DuckDB makes of the lake – of the
bytes of its records, which it decodes itself:

- A record is bad when its bytes are not an event with its time and its kind. It moves no maximum.

- W of a record is the greatest event time of the good records before it in its partition, less 30 seconds (none at first).
- It is late for a window that ends at or before W; late for a session or an interval join when it is before W.
- G is the least of the partitions' last W. A row of a window is final when the window ends at or before G.

An event a second, so that the log is longer than a day, and the windows of a day too have an end, and late records.
"""
import argparse, json, os, subprocess, sys
import duckdb  # and pytz, for its times with zones

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("samestream")
arguments.add_argument("folder")
arguments.add_argument("--events", type=int, default=95_000)
arguments.add_argument("--seed", type=int, default=1)
args = arguments.parse_args()

SECOND = 1_000_000
MINUTE = 60 * SECOND
DAY = 86_400 * SECOND
# What the pipelines leave to their variables; at an event a second auctions last up to 3,334 seconds.
REGISTERED, LONGEST, OPEN = 3000, 3600, 1500
VARIABLES = {
    "JOURNALS": f"{args.folder}/journal",
    "LAKES": f"{args.folder}/lake",
    "REGISTERED": f"{REGISTERED}s",
    "LONGEST": f"{LONGEST}s",
    "OPEN": f"{OPEN}s",
}


def samestream(*words):
    done = subprocess.run([args.samestream, *words, "--quiet"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"samestream {' '.join(words)}: exit code {done.returncode}\n{done.stderr}")


def setting(**more):
    """The variables of pipelines, as arguments."""
    return [word for name, value in {**VARIABLES, **more}.items() for word in ("--set", f"vars.{name}={value}")]


def tumbling(table, size):
    """Rows of `table` with the window that each is in."""
    return f"(select *, t // {size} * {size} as ws, t // {size} * {size} + {size} as we from {table})"


def hopping(table, size, every):
    return f"""(select *, (t // {every} - i) * {every} as ws, (t // {every} - i) * {every} + {size} as we
                from {table}, range({size // every}) as hop(i))"""


def in_time(windowed):
    """Those that are not late for their window."""
    return f"(select * from {windowed} where w is null or we > w)"


def late_for_all(windowed):
    """Positions of the records that are late for every window of theirs."""
    return f"select p, o from {windowed} group by p, o, w having max(we) <= w"


def at_points(table):
    """Those that are not late for work at a point in time."""
    return f"(select * from {table} where w is null or t >= w)"


def late_at_points(table):
    return f"select p, o from {table} where t < w"


def sessions(table, keys, gap):
    """Rows of `table` with the session that each is in: rows of equal keys nearer than `gap`, one after the other."""
    return f"""(
      select *, min(t) over session as ws, max(t) over session + {gap} as we
      from (
        select *, sum(fresh) over (partition by {keys} order by t range between unbounded preceding and current row) as n
        from (select *, coalesce((t - lag(t) over (partition by {keys} order by t) >= {gap})::int, 1) as fresh from {table})
      )
      window session as (partition by {keys}, n)
    )"""


# Pairs of an auction and a bid for it, at the time of the bid, which is not the earlier one.
AUCTION_BIDS = f"""(
  select a.id, a.seller, a.category, a.expires, a.item_name, a.description, a.initial_bid, a.reserve, a.t as date_time,
         a.extra, a.p as left_p, a.o as left_o, b.p as right_p, b.o as right_o, b.bidder, b.price, b.extra as bid_extra, b.t
  from {at_points('auctions')} a join {at_points('bids')} b on a.id = b.auction
  where b.t >= a.t and b.t <= a.t + {LONGEST * SECOND} and b.t <= a.expires
)"""
AUCTION_BIDS_LATE = f"({late_at_points('auctions')}) union all ({late_at_points('bids')})"
RANKS = """count(*), count(*) filter (price < 10000), count(*) filter (price >= 10000 and price < 1000000),
           count(*) filter (price >= 1000000)"""
DISTINCT = ", ".join(
    f"count(distinct {column}) {which}"
    for column in ("bidder", "auction")
    for which in ("", "filter (price < 10000)", "filter (price >= 10000 and price < 1000000)", "filter (price >= 1000000)")
)
FINAL = "we <= (select g from frontier)"
OF_DAYS = tumbling("bids", DAY)
OF_MINUTES = tumbling("bids", MINUTE)

# By query: its rows, then by step the positions of its late records. Columns are in the order of the sink's.
QUERIES = {
    "q0": ("select p, o, auction, bidder, price, t, extra, true from bids", {}),
    "q1": ("select p, o, auction, bidder, price::decimal(18, 0) * 0.908, t, extra, true from bids", {}),
    "q2": ("select p, o, auction, price, true from bids where auction % 123 = 0", {}),
    "q3": (
        f"""
        select name, city, state, a.id, true
        from (select * from {at_points('auctions')} where category = 10) a
        join (select * from {at_points('people')} where state in ('or', 'id', 'ca')) p on a.seller = p.id
        where p.t between a.t - {REGISTERED * SECOND} and a.t + {MINUTE}""",
        {
            "local_items": f"""
              (select p, o from auctions where category = 10 and t < w)
              union all (select p, o from people where state in ('or', 'id', 'ca') and t < w)"""
        },
    ),
    "q4": (
        f"""
        with winning as (
          select id, category, max(price) as price, we - 1 as t
          from {sessions(AUCTION_BIDS, 'id, category', LONGEST * SECOND)} group by id, category, ws, we
        )
        select ws, we, category, count(*), sum(price) // count(*), {FINAL}
        from {tumbling('winning', MINUTE)} group by ws, we, category""",
        {"auction_bids": AUCTION_BIDS_LATE},
    ),
    "q5": (
        f"""
        select ws, we, auction, num, {FINAL}
        from (select ws, we, auction, count(*) as num
              from {in_time(hopping('bids', 10 * SECOND, 2 * SECOND))} group by all)
        qualify num = max(num) over (partition by ws)""",
        {"hot_items": late_for_all(hopping("bids", 10 * SECOND, 2 * SECOND))},
    ),
    "q6": (
        f"""
        with winning as (
          select id, seller, max(price) as price, arg_min(t, (-price, t)) as sold_at, we - 1 as t
          from {sessions(AUCTION_BIDS, 'id, seller', LONGEST * SECOND)} group by id, seller, ws, we
        ),
        last_ten as (
          select ws, we, seller, id, max(price) as price, max(sold_at) as sold_at
          from {hopping('winning', 10 * MINUTE, MINUTE)} group by ws, we, seller, id
          qualify row_number() over (partition by ws, seller order by max(sold_at) desc, id) <= 10
        )
        select ws, we, seller, count(*), sum(price) // count(*), {FINAL} from last_ten group by ws, we, seller""",
        {"auction_bids": AUCTION_BIDS_LATE},
    ),
    "q7": (
        f"""
        select ws, we, auction, bidder, price, t, extra, {FINAL}
        from {in_time(tumbling('bids', 10 * SECOND))}
        qualify price = max(price) over (partition by ws)""",
        {step: late_for_all(tumbling("bids", 10 * SECOND)) for step in ("highest", "highest_bids")},
    ),
    "q8": (
        f"""
        select p.ws, p.we, p.id, p.name, p.{FINAL}
        from (select distinct ws, we, id, name from {in_time(tumbling('people', 10 * SECOND))}) p
        join (select distinct ws, seller from {in_time(tumbling('auctions', 10 * SECOND))}) a
          on p.id = a.seller and p.ws = a.ws""",
        {
            "people": late_for_all(tumbling("people", 10 * SECOND)),
            "sellers": late_for_all(tumbling("auctions", 10 * SECOND)),
        },
    ),
    "q9": (
        f"""
        select ws, we, id, item_name, description, initial_bid, reserve, date_time, expires, seller, category, extra,
               bidder, price, t, bid_extra, {FINAL}
        from {sessions(AUCTION_BIDS, 'id, item_name, description, initial_bid, reserve, date_time, expires, seller, category, extra', LONGEST * SECOND)}
        qualify row_number() over (
          partition by id, item_name, description, initial_bid, reserve, date_time, expires, seller, category, extra, ws
          order by price desc, t, left_p, left_o, right_p, right_o) = 1""",
        {"auction_bids": AUCTION_BIDS_LATE},
    ),
    "q11": (
        f"""
        select ws, we, bidder, count(*), {FINAL}
        from {sessions(at_points('bids'), 'bidder', 10 * SECOND)} group by ws, we, bidder""",
        {"sessions": late_at_points("bids")},
    ),
    "q12": (
        f"""
        select ws, we, bidder, count(*), we <= (select g from logged_frontier)
        from {in_time(tumbling('logged', 10 * SECOND))} group by ws, we, bidder""",
        {"per_bidder": late_for_all(tumbling("logged", 10 * SECOND))},
    ),
    "q13": (
        """
        select p, o, auction, bidder, price, t, value, true
        from bids join read_csv('pipelines/nexmark/side_input.csv') side on auction % 10000 = side.key""",
        {},
    ),
    "q14": (
        """
        select p, o, auction, bidder, price::decimal(18, 0) * 0.908,
               case when hour(make_timestamp(t)) between 8 and 18 then 'dayTime'
                    when hour(make_timestamp(t)) not between 7 and 19 then 'nightTime' else 'otherTime' end,
               t, extra, len(regexp_extract_all(extra, 'c')), true
        from bids where price * 908 > 1000000000 and price * 908 < 50000000000""",
        {},
    ),
    "q15": (
        f"""
        select ws, we, strftime(make_timestamp(ws), '%Y-%m-%d'), {RANKS}, {DISTINCT}, {FINAL}
        from {in_time(OF_DAYS)} group by ws, we""",
        {"per_day": late_for_all(OF_DAYS)},
    ),
    "q16": (
        f"""
        select ws, we, channel, strftime(make_timestamp(ws), '%Y-%m-%d'), strftime(make_timestamp(max(t)), '%H:%M'),
               {RANKS}, {DISTINCT}, {FINAL}
        from {in_time(OF_DAYS)} group by ws, we, channel""",
        {"per_channel": late_for_all(OF_DAYS)},
    ),
    "q17": (
        f"""
        select ws, we, auction, strftime(make_timestamp(ws), '%Y-%m-%d'), {RANKS}, min(price), max(price),
               sum(price) // count(*), sum(price), {FINAL}
        from {in_time(OF_DAYS)} group by ws, we, auction""",
        {"per_auction": late_for_all(OF_DAYS)},
    ),
    "q18": (
        f"""
        select ws, we, auction, bidder, price, channel, url, t, extra, {FINAL}
        from {in_time(OF_MINUTES)}
        qualify row_number() over (partition by ws, auction, bidder order by t desc, p desc, o desc) = 1""",
        {"last_bids": late_for_all(OF_MINUTES)},
    ),
    "q19": (
        f"""
        select ws, we, auction, bidder, price, channel, url, t, extra,
               row_number() over (partition by ws, auction order by price desc, t, bidder, channel, url, extra) as rank_number,
               {FINAL}
        from {in_time(OF_MINUTES)}
        qualify rank_number <= 10""",
        {"highest": late_for_all(OF_MINUTES)},
    ),
    "q20": (
        f"""
        select b.auction, bidder, price, channel, url, b.t, b.extra, item_name, description, initial_bid, reserve, a.t,
               expires, seller, category, a.extra, true
        from {at_points('bids')} b join (select * from {at_points('auctions')} where category = 10) a on b.auction = a.id
        where a.t between b.t - {OPEN * SECOND} and b.t + {OPEN * SECOND}""",
        {"expanded": f"(select p, o from auctions where category = 10 and t < w) union all ({late_at_points('bids')})"},
    ),
    "q21": (
        """
        select p, o, auction, bidder, price, channel, channel_id, true
        from (select *, coalesce(map {'apple': '0', 'google': '1', 'facebook': '2', 'baidu': '3'}[lower(channel)],
                                 nullif(regexp_extract(url, '[&]channel_id=([^&]*)', 1), '')) as channel_id from bids)
        where channel_id is not null""",
        {},
    ),
    "q22": (
        """
        select p, o, auction, bidder, price, channel, parts[4], parts[5], parts[6], true
        from (select *, string_split(url, '/') as parts from bids)""",
        {},
    ),
}


# An event as JSON, for DuckDB to read.
EVENT = {
    "event_type": "VARCHAR",
    "date_time": "TIMESTAMP",
    "person": {name: "VARCHAR" for name in ("name", "email_address", "credit_card", "city", "state", "extra")} | {"id": "BIGINT"},
    "auction": {name: "VARCHAR" for name in ("item_name", "description", "extra")}
    | {name: "BIGINT" for name in ("id", "initial_bid", "reserve", "seller", "category")}
    | {"expires": "TIMESTAMP"},
    "bid": {name: "BIGINT" for name in ("auction", "bidder", "price")} | {name: "VARCHAR" for name in ("channel", "url", "extra")},
}


def read_log(db):
    """The good records of the lake, each with its W; and G. Values are read out of the records' own bytes."""
    db.execute("set TimeZone = 'UTC'")
    db.execute(f"""
    create temp table records as
    with texts as (
      select _partition as p, _offset as o, epoch_us(_timestamp) as logged, _bad is not null as is_bad, try(decode(_raw)) as text
      from read_parquet('{args.folder}/lake/nexmark/partition=*/*.parquet', hive_partitioning = false)
    )
    select p, o, logged, is_bad, text, unnest(from_json(text, '{json.dumps(EVENT)}'))
    from (select * replace (case when json_valid(text) then text end as text) from texts);
    create table log as
    select p, o, epoch_us(date_time) as t, logged, event_type, person, auction, bid,
           max(epoch_us(date_time)) over before - {30 * SECOND} as w, max(logged) over before as logged_w
    from records
    where date_time is not null and event_type is not null and json_type(text, '$.' || event_type) = 'OBJECT'
    window before as (partition by p order by o rows between unbounded preceding and 1 preceding);
    create table bids as select p, o, t, w, unnest(bid) from log where event_type = 'bid';
    create table people as select p, o, t, w, unnest(person) from log where event_type = 'person';
    create table auctions as
      select * replace (epoch_us(expires) as expires)
      from (select p, o, t, w, unnest(auction) from log where event_type = 'auction');
    create view logged as select p, o, logged as t, logged_w as w, bid.bidder from log where event_type = 'bid';
    create table frontier as select min(m) - {30 * SECOND} as g from (select max(t) as m from log group by p);
    create table logged_frontier as select min(m) as g from (select max(logged) as m from log group by p);
    """)
    db.execute("""
    create temp table said_bad as select p, o from records where is_bad;
    create temp table bad as select p, o from records anti join log using (p, o);
    """)
    return db.execute("select count(*) from bad").fetchone()[0]


def read_rows(db, files):
    """What a sink wrote: times as microseconds, so that they are numbers on both sides."""
    described = db.execute(f"describe select * from read_parquet('{files}')").fetchall()
    columns = (f'epoch_us("{name}")' if kind.startswith("TIMESTAMP") else f'"{name}"' for name, kind, *_ in described)
    db.execute(f"create or replace temp table found as select {', '.join(columns)} from read_parquet('{files}')")
    assert described[-1][0] == "final", described


def differences(db, expected, found):
    count = lambda a, b: db.execute(f"select count(*) from (from {a} except all from {b})").fetchone()[0]
    missing, surplus = count(expected, found), count(found, expected)
    for title, a, b in (("expected", expected, found), ("found", found, expected)):
        for row in db.execute(f"from (from {a} except all from {b}) limit 3").fetchall():
            print(f"  only {title}: {row}", file=sys.stderr)
    return missing + surplus


def late_set(db, folder):
    """Positions of the late records that a run kept of a step."""
    exists = os.path.isdir(folder) and any(name.endswith(".parquet") for name in os.listdir(folder))
    source = f"select _partition, _offset from read_parquet('{folder}/*.parquet')" if exists else "select 0, 0 limit 0"
    db.execute(f"create or replace temp table kept as {source}")


def check(db, name, bad):
    """Runs a query in both modes and compares. Returns what it says of itself and how much differs."""
    path = f"pipelines/nexmark/{name}.yaml"
    rows, late = QUERIES[name]
    db.execute(f"create or replace temp table expected as {rows}")
    wrong, summaries = 0, []
    for mode in ("stream", "batch"):
        out, state = f"{args.folder}/{mode}", f"{args.folder}/state"
        summary = f"{args.folder}/{name}.{mode}.json"
        words = setting(RESULTS=out) + ["--state-dir", state, "--summary", summary]
        samestream("run", path, "--mode", mode, *words, *(["--until-caught-up"] if mode == "stream" else []))
        summaries.append(json.load(open(summary)))
        read_rows(db, f"{out}/nexmark/{name}/*.parquet")
        wrong += differences(db, "expected", "found")
        late_rows = 0
        for step, query in late.items():
            db.execute(f"create or replace temp table late as {query}")
            late_rows += db.execute("select count(*) from late").fetchone()[0]
            late_set(db, f"{state}/nexmark_{name}/{mode}/late/{step}")
            wrong += differences(db, "late", "kept")
        said = [summaries[-1][field] for field in ("rows_bad", "rows_late", "rows_failed", "rows_written")]
        count = db.execute("select count(*) from expected").fetchone()[0]
        if said != [bad, late_rows, 0, count]:
            print(f"  {name} {mode}: bad, late, failed, written are {said}, not {[bad, late_rows, 0, count]}", file=sys.stderr)
            wrong += 1
    for field in ("definition", "start", "end", "windows", "digest_final", "digest_all", "digest_late", "digest_bad"):
        if summaries[0][field] != summaries[1][field]:
            print(f"  {name}: {field} differs: {summaries[0][field]} and {summaries[1][field]}", file=sys.stderr)
            wrong += 1
    last = db.execute("describe expected").fetchall()[-1][0]
    finals = db.execute(f'select count(*) filter ("{last}") from expected').fetchone()[0]
    if not finals or (late and not late_rows and name != "q12"):
        print(f"  {name}: proves little with {finals} final rows and {late_rows} late ones", file=sys.stderr)
        wrong += 1
    return f"{count:,} rows, {finals:,} final, {late_rows:,} late", wrong


def main():
    names = [name.removesuffix(".yaml") for name in os.listdir("pipelines/nexmark") if name.endswith(".yaml")]
    assert sorted(names) == sorted(QUERIES), sorted(set(names) ^ set(QUERIES))
    place = f"journal:{args.folder}/journal/nexmark"
    samestream("gen", "nexmark", "--to", place, "--events", str(args.events), "--rate", "1", "--late", "3%", "--bad", "0.5%",
               "--seed", str(args.seed))
    first = "pipelines/nexmark/q0.yaml"
    samestream("archive", first, "--until-caught-up", "--raw", "--roll-rows", "9000", *setting())
    db = duckdb.connect()
    bad = read_log(db)
    failed = int(not bad or differences(db, "bad", "said_bad") > 0)
    for name in QUERIES:
        says, wrong = check(db, name, bad)
        failed += bool(wrong)
        print(f"{'✗' if wrong else '✓'} {name:<4} {says}{f'; {wrong} differences' if wrong else ''}", flush=True)
    print(f"{len(QUERIES)} queries over {args.events:,} records, {bad:,} of them bad, in both modes and DuckDB: "
          f"{f'{failed} differ' if failed else 'all agree'}")
    sys.exit(1 if failed else 0)


main()
