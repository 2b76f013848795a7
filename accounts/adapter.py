"""How allauth sends its mails and opens its pages here."""

from allauth.account.adapter import DefaultAccountAdapter


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth has no types
    """The default adapter; kept as the one place to change what allauth does."""
