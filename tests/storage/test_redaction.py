"""Secrets are hidden in addresses and in texts that quote addresses."""

import pytest

from storage.redaction import redact, redact_text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann:secret@host/db", "postgresql://ann:***@host/db"),
        ("https://ann:secret@mlflow.example.org", "https://ann:***@mlflow.example.org"),
        ("postgresql://ann@corp:secret@host/db", "postgresql://ann@corp:***@host/db"),
        ("http://ann:secret/x@host", "http://ann:***@host"),
        ("http://ann:secret#x@host", "http://ann:***@host"),
        ("ann:secret@host/db", "ann:***@host/db"),
        ("https://token@host/mlflow", "https://***@host/mlflow"),
        ("mssql+pyodbc:///?odbc_connect=PWD%3Dsecret", "mssql+pyodbc:///?odbc_connect=***"),
        (
            "postgresql://host/db?passfile=a&access-token=b",
            "postgresql://host/db?passfile=a&access-token=***",
        ),
        ("sqlite:///optuna.db", "sqlite:///optuna.db"),
        ("no address", "no address"),
    ],
)
def test_passwords_are_hidden_in_addresses_and_in_texts(url: str, shown: str) -> None:
    assert redact(url) == shown
    assert redact_text(url) == shown
    assert redact_text(f"cannot open\n  {url} today") == f"cannot open\n  {shown} today"


def test_a_password_with_spaces_is_hidden_in_texts_that_quote_a_known_address() -> None:
    address = "postgresql://ann:of two words@host/db"
    assert redact(address) == "postgresql://ann:***@host/db"
    text = redact_text(f"cannot parse {address} as an address", address, "")
    assert text == "cannot parse postgresql://ann:***@host/db as an address"
