"""Tables of real databases, which are read and never written."""

import datetime
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from made import make_dataset
from sqlalchemy import create_engine, make_url, text

from search.data.limits import Limits
from search.data.table import read_table
from search.errors import DataError, UsageError

Ask = Callable[[str], list[Any]]


@contextmanager
def asking(url: str) -> Iterator[Ask]:
    engine = create_engine(url)

    def ask(statement: str) -> list[Any]:
        with engine.begin() as connection:
            result = connection.execute(text(statement))
            return list(result) if result.returns_rows else []

    yield ask
    engine.dispose()


@pytest.fixture(
    params=["sqlite", "postgresql", pytest.param("mariadb", marks=pytest.mark.mariadb)],
    scope="module",
)
def shop(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Ask]]:
    """The address of a database with a table of houses, and a function that runs a statement."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('shop')}/shop.db"
    else:
        fixture = {"postgresql": "postgres", "mariadb": "mariadb"}[request.param]
        url = request.getfixturevalue(fixture)()
    with asking(url) as ask:
        ask(
            "create table houses (id integer, rooms integer, price decimal(9, 2), sold date, "
            "seen timestamp null, city varchar(20), none varchar(9))"
        )
        values = ", ".join(
            f"({i}, {i % 6 if i % 5 else 'null'}, {i}.25, '2024-02-{1 + i % 28:02}', "
            f"'2024-02-03 04:05:06', '{['Delft', 'Leiden 100%'][i % 2]}', null)"
            for i in range(60)
        )
        ask(f"insert into houses values {values}")  # noqa: S608 our own
        yield url, ask


HOUSES = "select * from houses order by id"
# More rows than one batch: each house 240 times. The first batch has no value in `late`.
MANY_HOUSES = """
    select a.*, case when a.id >= 50 then a.id end as late
    from houses a cross join houses b cross join (select id from houses where id < 4) c
    order by a.id
"""


@pytest.mark.parametrize(("query", "times"), [(HOUSES, 1), (MANY_HOUSES, 240)])
def test_columns_have_the_types_of_the_database(
    shop: tuple[str, Ask], query: str, times: int
) -> None:
    table = read_table(shop[0], query)
    kinds = {name: dtype.kind for name, dtype in table.dtypes.items()}
    assert table["id"].tolist() == [house for house in range(60) for _ in range(times)]
    assert kinds["id"] == "i"
    assert table["rooms"].isna().sum() == 12 * times
    assert kinds["rooms"] == kinds["price"] == kinds["none"] == "f"
    assert table["price"].tolist()[:: 59 * times] == [0.25, 59.25]
    assert table["none"].isna().all()
    assert table["city"].tolist()[:: 59 * times] == ["Delft", "Leiden 100%"]
    if not shop[0].startswith("sqlite"):  # SQLite has no dates
        assert kinds["sold"] == kinds["seen"] == "M"
        assert table["sold"][0] == pd.Timestamp(2024, 2, 1)


def test_a_column_whose_first_values_are_missing_has_the_type_of_the_others(
    shop: tuple[str, Ask],
) -> None:
    late = read_table(shop[0], MANY_HOUSES)["late"]
    assert late.dtype.kind == "f"
    assert late.dropna().tolist() == [house for house in range(50, 60) for _ in range(240)]


@pytest.mark.parametrize(
    "statement",
    [
        "delete from houses",
        "insert into houses (id) values (99)",
        "update houses set id = 0",
        "drop table houses",
        "create table other (id integer)",
        "select 1 as a; delete from houses",
        "delete from houses; commit",
        "commit; delete from houses",
    ],
)
def test_a_statement_that_writes_changes_nothing(shop: tuple[str, Ask], statement: str) -> None:
    url, ask = shop
    before = ask(HOUSES)
    with pytest.raises(DataError) as error:
        read_table(url, statement)
    assert "\n" not in str(error.value)
    assert ask(HOUSES) == before


def test_postgresql_refuses_a_select_that_writes(shop: tuple[str, Ask]) -> None:
    url, ask = shop
    if not url.startswith("postgresql"):
        pytest.skip("functions and data-modifying CTEs of PostgreSQL")
    ask("create function clear() returns integer language sql as 'delete from houses; select 1'")
    with pytest.raises(DataError, match="cannot execute DELETE in a read-only transaction"):
        read_table(url, "select clear() as y")
    with pytest.raises(DataError, match="data-modifying statements"):
        read_table(url, "with gone as (delete from houses returning *) select * from gone")
    assert len(ask(HOUSES)) == 60


def test_percent_signs_and_colons_in_a_query_are_literal(shop: tuple[str, Ask]) -> None:
    query = "select id, ':a %s' as \"x\" from houses where city like 'Leiden%' order by id"
    if shop[0].startswith("mysql"):
        query = query.replace('"', "`")
    table = read_table(shop[0], query)
    assert (len(table), table["x"][0]) == (30, ":a %s")


@pytest.mark.parametrize(
    ("query", "limits", "says"),
    [
        ("select * from hauses", Limits(), "hauses"),
        ("select id, id from houses", Limits(), "two columns of --query are called 'id'"),
        ("select * from houses where id < 0", Limits(), "has no rows (7 columns)"),
        (HOUSES, Limits(max_rows=59), "more than 59 rows: raise --max-rows"),
        (HOUSES, Limits(max_bytes=500), "more than 500 bytes in memory"),
    ],
)
def test_a_query_that_cannot_be_used_is_refused_in_one_line(
    shop: tuple[str, Ask], query: str, limits: Limits, says: str
) -> None:
    with pytest.raises(DataError) as error:
        read_table(shop[0], query, limits)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_query_without_order_by_adds_a_note(shop: tuple[str, Ask]) -> None:
    for query, has_note in ((HOUSES, False), ("select * from houses", True)):
        notes = make_dataset(shop[0], "price", query=query).notes
        assert any("no `order by`" in note for note in notes) is has_note


def test_a_database_needs_a_query() -> None:
    with pytest.raises(UsageError, match="is a database: say what to read with --query"):
        read_table("sqlite:///shop.db")


def test_a_missing_sqlite_file_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no database file"):
        read_table(f"sqlite:///{tmp_path}/none.db", "select 1")
    (tmp_path / "text.db").write_text("this is text, and a long one at that " * 99)
    with pytest.raises(DataError, match="file is not a database"):
        read_table(f"sqlite:///{tmp_path}/text.db", "select * from t")
    path = tmp_path / "a b?.db"
    sqlite3.connect(path).close()
    url = make_url("sqlite://").set(database=str(path))
    for statement in (f"attach database '{tmp_path}/new.db' as n", "pragma journal_mode=wal"):
        with pytest.raises(DataError):
            read_table(url.render_as_string(), statement)
    assert {file.name for file in tmp_path.iterdir()} == {"text.db", "a b?.db"}


@pytest.mark.parametrize("n_rows", [9, 15_000], ids=["in one batch", "in several batches"])
def test_a_sqlite_column_of_mixed_types_is_text(n_rows: int, tmp_path: Path) -> None:
    last = n_rows - 4
    with closing(sqlite3.connect(tmp_path / "mixed.db")) as connection:
        connection.execute("create table t (a, b, c)")
        rows = [(i if i < last else f"w{i}", i if i % 2 else 0.5, None) for i in range(n_rows)]
        connection.executemany("insert into t values (?, ?, ?)", rows)
        connection.commit()
    table = read_table(f"sqlite:///{tmp_path}/mixed.db", "select * from t")
    words = [f"w{i}" for i in range(last, n_rows)]
    assert table["a"].tolist() == [*map(str, range(last)), *words]
    assert table["b"].tolist()[:2] == [0.5, 1.0]
    assert table["c"].isna().all()


def test_types_of_postgresql_are_read_or_refused_by_column(
    postgres: Callable[[], str],
) -> None:
    url = postgres()
    query = (
        "select i, i::numeric / 3 as third, ('2024-01-01 00:00+02'::timestamptz) as zoned, "
        "gen_random_uuid() as uid, (i % 2 = 0) as even, '09:30'::time as clock, "
        "case when i > 3 then 'nan'::numeric end as hole from generate_series(1, 20) i order by i"
    )
    table = read_table(url, query)
    assert [table.dtypes[name].kind for name in ("third", "zoned", "even")] == ["f", "M", "b"]
    assert isinstance(table["uid"][0], str)
    assert table["hole"].isna().all()
    assert table["clock"][0] == datetime.time(9, 30)
    for value in ("array[1, 2]", "'{\"k\": 1}'::jsonb", "interval '2 days'"):
        with pytest.raises(DataError, match="column 'odd' holds"):
            make_dataset(
                url,
                "i",
                query=f"select {value} as odd, i from generate_series(1, 99) i",  # noqa: S608
            )
    with pytest.raises(DataError, match="with --query: timestamp too large"):
        read_table(url, "select 'infinity'::timestamp as t, 1 as y")


def test_an_unreachable_server_is_reported_without_the_password() -> None:
    address = "postgresql+psycopg://ann:swordfish@127.0.0.1:9/shop"
    with pytest.raises(DataError, match=r"ann:\*\*\*@127.0.0.1.*refused") as error:
        read_table(address, "select 1")
    assert "swordfish" not in str(error.value)
    assert error.value.__cause__ is None
    with pytest.raises(DataError, match="its password was not stored: give the full"):
        read_table(address.replace("swordfish", "***"), "select 1")


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("postgres://ann:swordfish@db/shop", "give postgresql+psycopg://"),
        ("mysql+mysqldb://ann:swordfish@db/shop", "give mysql+pymysql://"),
        ("duck://shop", "an address that SQLAlchemy has a driver for"),
        ("https://host/t.csv", "an address that SQLAlchemy has a driver for"),
        ("postgresql+psycopg://db:port/shop", "cannot read --data"),
    ],
)
def test_a_missing_driver_is_named(address: str, says: str) -> None:
    with pytest.raises(DataError) as error:
        read_table(address, "select 1")
    assert says in str(error.value)
    assert "swordfish" not in str(error.value)
