"""Polars in batch: lazy frames over the Parquet files, run by its streaming engine. It drops nothing as late and adds floats in the
order in which they come."""
import os, sys

import measure
from bench import THREADS

PACKAGES, JARS, JARS_ALONE = ["polars==2.1.0"], [], False
MINUTE = "pl.col('event_time').dt.truncate('1m').alias('window_start')"
FIGURES = "pl.len().alias('events'), a.sum().alias('revenue'), a.min().alias('least'), a.max().alias('best'), a.mean().alias('mean')"
# Python expressions, in which `pl` is polars, `lake` the files and `a` the amount.
BATCH = {
    "pages": f"lake.group_by('page', {MINUTE}).agg({FIGURES})",
    "users": f"lake.group_by('user_id', {MINUTE}).agg({FIGURES})",
    # Counted by minute first: five times as few rows go into the larger table.
    "hops": f"""(lake.group_by('user_id', {MINUTE}).agg(pl.len().alias('n')).join(pl.LazyFrame({{'i': [0, 1, 2, 3, 4]}}), how='cross')
        .group_by('user_id', (pl.col('window_start') - pl.duration(minutes=pl.col('i'))).alias('window_start')).agg(pl.col('n').sum().alias('events')))""",
    "sessions": """(lake.select('user_id', 'event_time', 'amount').sort('user_id', 'event_time')
        .with_columns(((pl.col('event_time') - pl.col('event_time').shift(1) >= pl.duration(seconds=30)) | (pl.col('user_id') != pl.col('user_id').shift(1)))
            .fill_null(True).cum_sum().alias('session'))
        .group_by('session').agg(pl.col('user_id').first(), pl.col('event_time').min().alias('window_start'), pl.col('event_time').max().alias('last'),
            pl.len().alias('events'), a.sum().alias('revenue')))""",
    "distinct": f"lake.group_by('page', {MINUTE}).agg(pl.col('user_id').n_unique().alias('users'))",
    "top": f"""(lake.group_by('page', {MINUTE}).agg(a.sum().alias('revenue')).sort('revenue', descending=True)
        .group_by('window_start').head(10))""",
    "quantile": f"lake.group_by('page', {MINUTE}).agg(a.quantile(0.5, 'linear').alias('middle'))",
}
STREAM = {}


def batch(bench, work, log, out):
    environment = dict(os.environ, POLARS_MAX_THREADS=str(THREADS))
    return {"": measure.whole(bench.module(__name__, work, log.lake, out), bench.path("polars.log"), env=environment)}


def main(work, lake, out):
    import polars as pl

    names = {"pl": pl, "a": pl.col("amount"), "lake": pl.scan_parquet(f"{lake}/*/*.parquet")}
    eval(BATCH[work], names).sink_parquet(out, compression="zstd", compression_level=1)


if __name__ == "__main__":
    main(*sys.argv[1:])
