"""Addresses of tables: their secrets are hidden, and studies are named after them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.data.addresses import TableAddress, resolve_table
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
def test_a_redacted_address_has_no_secret(address: str, kept: str | None, name: str) -> None:
    table = TableAddress(address)
    assert table.redacted == str(table) == (kept or address)
    assert kept is None or address not in repr(table)
    assert table.study_name == name
    spec = make_spec(
        {"data": address, "query": QUERY if TableAddress(address).is_database else None}
    )
    assert (spec.data, spec.address, spec.study) == (kept or address, address, name)


# Digits and a slash after a host are a port and a path, not a password.
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
def test_any_secret_is_hidden_in_addresses_messages_and_specifications(
    form: str, secret: str
) -> None:
    address = form.format(secret)
    kept = TableAddress(address).redacted
    assert kept == form.format("***").replace("ann:***@host", "***@host").replace(
        "ann:***@bucket", "***@bucket"
    )
    assert TableAddress(kept).redacted == kept
    around = TableAddress(address).redact_message(f"<< {address} >> << {secret} >>")
    assert around.replace("***", "").count(secret) <= kept.replace("***", "").count(secret)
    spec = make_spec(
        {"data": address, "query": QUERY if TableAddress(address).is_database else None}
    )
    assert repr(spec).count(secret) == repr(
        make_spec({"data": kept} | ({"query": QUERY} if TableAddress(address).is_database else {}))
    ).count(secret)


def test_a_database_is_opened_without_the_password_that_was_redacted() -> None:
    kept = TableAddress(
        "postgresql+psycopg://ann:pw1@db/shop?sslmode=require&password=pw1"
    ).redacted
    assert TableAddress(kept).without_redacted == "postgresql+psycopg://ann@db/shop?sslmode=require"


def test_the_recorded_query_also_applies_to_another_database() -> None:
    assert resolve_table("h.csv", None, None, None) == ("h.csv", None)
    assert resolve_table("h.csv", None, "new.csv", None) == ("new.csv", None)
    assert resolve_table("sqlite:///a.db", QUERY, None, None) == ("sqlite:///a.db", QUERY)
    assert resolve_table("sqlite:///a.db", QUERY, "sqlite:///b.db", None)[1] == QUERY
    assert resolve_table("sqlite:///a.db", QUERY, "sqlite:///b.db", "select 1")[1] == "select 1"
    assert resolve_table("sqlite:///a.db", QUERY, "h.csv", None) == ("h.csv", None)
