"""Addresses of tables, and that their secrets are not told."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.data.addresses import (
    default_name,
    found_again,
    is_database,
    scrubbed,
    shown,
    without_hidden,
)
from search.study.spec import make_spec

QUERY = "select * from houses order by id"


@pytest.mark.parametrize(
    ("address", "kept", "name"),
    [
        ("houses.csv", "houses.csv", "houses"),
        ("a:b@c.csv", "a:b@c.csv", "a-b-c"),
        ("-", "stdin", "stdin"),
        ("s3://bucket/a/houses.csv.gz?versionId=1", None, "houses"),
        ("s3://bucket/houses/", None, "houses"),
        ("memory://x.parquet", None, "x"),
        ("https://host:8080/a@b.csv", None, "a-b"),
        ("https://example.org", None, "example.org"),
        ("https://ann:pw1@host/x.csv", "https://***@host/x.csv", "x"),
        ("https://ghp_token@host/x.csv", "https://***@host/x.csv", "x"),
        ("https://ann:p/w@host/x.csv", "https://***@host/x.csv", "x"),
        (
            "https://h/my%20t.csv?X-Amz-Signature=ab12&X-Amz-Date=2026&id=3",
            "https://h/my%20t.csv?X-Amz-Signature=***&X-Amz-Date=2026&id=3",
            "my-t",
        ),
        ("https://h/x.csv?sv=1&sig=a%2Bb&sp=r", "https://h/x.csv?sv=1&sig=***&sp=r", "x"),
        ("https://h/x.csv?X%2DAmz%2DSignature=a", "https://h/x.csv?X%2DAmz%2DSignature=***", "x"),
        ("https://h/x.csv?d=" + "q" * 30, "https://h/x.csv?d=***", "x"),
        ("https://h/x.csv#access_token=a", "https://h/x.csv#access_token=***", "x"),
        (
            "zip://a.csv::https://u:pw1@h/z.zip?token=t",
            "zip://a.csv::https://***@h/z.zip?token=***",
            "a",
        ),
        ("sqlite:///dir/shop.db", None, "shop"),
        ("postgresql+psycopg://ann@db/shop", None, "shop"),
        (
            "postgresql+psycopg://ann:p/w@d@db/shop?sslmode=require",
            "postgresql+psycopg://ann:***@db/shop?sslmode=require",
            "shop",
        ),
        (
            "postgresql:///shop?host=/tmp/x&password=pw1&passfile=/home/ann/.pgpass",
            "postgresql:///shop?host=/tmp/x&password=***&passfile=/home/ann/.pgpass",
            "shop",
        ),
    ],
)
def test_what_is_kept_of_an_address_has_no_secret(
    address: str, kept: str | None, name: str
) -> None:
    assert shown(address) == (kept or address)
    assert default_name(address) == name
    spec = make_spec({"data": address, "query": QUERY if is_database(address) else None})
    assert (spec.data, spec.address, spec.study) == (kept or address, address, name)


# Whoever writes these after a host means a port and a path, and no password.
PORT = re.compile(r"\d*/")
WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"], exclude_characters="@?&;#:*"),
    min_size=4,
).filter(lambda text: "%" not in text and "://" not in text and not PORT.match(text))


@given(secret=WORDS)
@pytest.mark.parametrize(
    "form",
    [
        "postgresql+psycopg://ann:{}@db/shop",
        "mysql+pymysql://ann@db/shop?passwd={}",
        "https://ann:{}@host/houses.csv",
        "https://host/houses.csv?X-Amz-Signature={}&X-Amz-Date=2026",
        "s3://ann:{}@bucket/houses.csv",
        "zip://houses.csv::https://host/h.zip?sig={}",
    ],
)
def test_no_secret_is_told_whatever_it_is(form: str, secret: str) -> None:
    address = form.format(secret)
    kept = shown(address)
    assert kept == form.format("***").replace("ann:***@host", "***@host").replace(
        "ann:***@bucket", "***@bucket"
    )
    assert shown(kept) == kept
    around = scrubbed(f"<< {address} >> << {secret} >>", address)
    assert around.replace("***", "").count(secret) <= kept.replace("***", "").count(secret)
    spec = make_spec({"data": address, "query": QUERY if is_database(address) else None})
    assert repr(spec).count(secret) == repr(
        make_spec({"data": kept} | ({"query": QUERY} if is_database(address) else {}))
    ).count(secret)


def test_a_database_is_asked_without_the_password_that_was_not_kept() -> None:
    kept = shown("postgresql+psycopg://ann:pw1@db/shop?sslmode=require&password=pw1")
    assert without_hidden(kept) == "postgresql+psycopg://ann@db/shop?sslmode=require"


def test_a_table_is_found_again_by_the_query_on_record_where_it_is_in_a_database() -> None:
    assert found_again("h.csv", None, None, None) == ("h.csv", None)
    assert found_again("h.csv", None, "new.csv", None) == ("new.csv", None)
    assert found_again("sqlite:///a.db", QUERY, None, None) == ("sqlite:///a.db", QUERY)
    assert found_again("sqlite:///a.db", QUERY, "sqlite:///b.db", None)[1] == QUERY
    assert found_again("sqlite:///a.db", QUERY, "sqlite:///b.db", "select 1")[1] == "select 1"
    assert found_again("sqlite:///a.db", QUERY, "h.csv", None) == ("h.csv", None)
