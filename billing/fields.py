"""Column types for money: whole nano-dollars and whole wei."""

from typing import TYPE_CHECKING, Any, TypeVar

from django.db import models

_ST = TypeVar("_ST", contravariant=True)
_GT = TypeVar("_GT", covariant=True)

if TYPE_CHECKING:

    class _Decimal(models.DecimalField[_ST, _GT]):
        _pyi_private_set_type: int | models.expressions.Combinable
        _pyi_private_get_type: int  # type: ignore[assignment]

    class NanoUsdField(models.BigIntegerField[_ST, _GT]):
        """A whole number of nano-dollars (1e-9 USD), kept as BIGINT."""

else:
    _Decimal = {(_ST, _GT): models.DecimalField}  # the type checker subscripts the class, Python cannot

    class NanoUsdField(models.BigIntegerField):
        """A whole number of nano-dollars (1e-9 USD), kept as BIGINT."""


class WeiField(_Decimal[_ST, _GT]):
    """A whole number of wei up to 2^256 - 1, kept as NUMERIC(78, 0) and read back as int."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["max_digits"], kwargs["decimal_places"] = 78, 0
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> tuple[str, str, Any, Any]:
        name, path, args, kwargs = super().deconstruct()
        del kwargs["max_digits"], kwargs["decimal_places"]
        return name, path, args, kwargs

    def from_db_value(self, value: Any, expression: object, connection: object) -> int | None:
        return None if value is None else int(value)

    def to_python(self, value: Any) -> Any:
        return None if value is None else int(value)

    def get_db_prep_value(self, value: Any, connection: object, prepared: bool = False) -> int | None:
        return None if value is None else int(value)

    def get_db_prep_save(self, value: Any, connection: object) -> Any:
        return value if hasattr(value, "as_sql") else self.get_db_prep_value(value, connection)
