"""How allauth sends its mails: as this project's letters."""

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter

from accounts import letters, mail


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth has no types
    """The default adapter with letters of our own."""

    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "email_password_mismatch": "Email and password do not match. Check both, or reset your password.",
        "incorrect_password": "This is not your current password.",
        "too_many_login_attempts": "Too many tries. Wait five minutes, or reset your password.",
    }

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        mail.send(letters.BY_EVENT[template_prefix](context), to=email)
