"""Column types for money: whole nano-dollars and whole wei."""

from typing import TYPE_CHECKING

from django.db import models

if TYPE_CHECKING:
    _Decimal = models.DecimalField[int, int]
    _BigInteger = models.BigIntegerField[int, int]
else:
    _Decimal = models.DecimalField
    _BigInteger = models.BigIntegerField


class WeiField(_Decimal):
    """A whole number of wei up to 2^256 - 1, kept as NUMERIC(78, 0) and read back as int."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        kwargs["max_digits"], kwargs["decimal_places"] = 78, 0
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]

    def deconstruct(self) -> tuple[str, str, list[object], dict[str, object]]:  # type: ignore[override]
        name, path, args, kwargs = super().deconstruct()
        del kwargs["max_digits"], kwargs["decimal_places"]
        return name, path, list(args), kwargs

    def from_db_value(self, value: object, expression: object, connection: object) -> int | None:
        return None if value is None else int(value)  # type: ignore[call-overload,no-any-return]

    def to_python(self, value: object) -> int | None:  # type: ignore[override]
        return None if value is None else int(value)  # type: ignore[call-overload,no-any-return]

    def get_db_prep_value(self, value: object, connection: object, prepared: bool = False) -> int | None:
        return None if value is None else int(value)  # type: ignore[call-overload,no-any-return]

    def get_db_prep_save(self, value: object, connection: object) -> object:
        if hasattr(value, "as_sql"):
            return value
        return self.get_db_prep_value(value, connection)


class NanoUsdField(_BigInteger):
    """A whole number of nano-dollars (1e-9 USD), kept as BIGINT."""
