"""A test as one of the product's services, with the rights that it has in the database."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection


@contextmanager
def acting_as(service: str) -> Iterator[None]:
    """With the rights that the service has in the database and no others."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET ROLE clearinghouse_{service}")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET ROLE")
