"""The letters about signing in: what each says, for the events that allauth names."""

from collections.abc import Callable
from typing import Any

from accounts.mail import Letter

_NOT_YOU = "If this was not you, reset your password at once and look at your API keys."


def confirm_address(context: dict[str, Any]) -> Letter:
    return Letter(
        subject="Confirm your address to open your account",
        paragraphs=["One step is left: confirm that this address is yours. The link works for three days."],
        action=("Confirm address", context["activate_url"]),
        small=["No card is needed until you top up."],
        why="because somebody opened an account with this address. If it was not you, do nothing.",
    )


def confirm_change(context: dict[str, Any]) -> Letter:
    return Letter(
        subject="Confirm your new address",
        paragraphs=["Confirm this address to sign in with it from now on. The link works for three days."],
        action=("Confirm address", context["activate_url"]),
        why="because somebody asked to use this address. If it was not you, do nothing.",
    )


def already_open(context: dict[str, Any]) -> Letter:
    return Letter(
        subject="You already have an account",
        paragraphs=[
            "Somebody tried to open an account with this address, and there is one already. Sign in with it; "
            "if the password is lost, set a new one."
        ],
        action=("Set a new password", context["password_reset_url"]),
        why="because this address was typed into the sign-up form.",
    )


def reset_password(context: dict[str, Any]) -> Letter:
    return Letter(
        subject="Set a new password",
        paragraphs=["Choose a new password with this link. It works once, for three days."],
        action=("Set a new password", context["password_reset_url"]),
        small=["Your old password stays valid until you set a new one."],
        why="because somebody asked to reset the password of this address. If it was not you, do nothing.",
    )


def no_account(context: dict[str, Any]) -> Letter:
    return Letter(
        subject="There is no account with this address",
        paragraphs=["Somebody asked for a new password here, but no account uses this address."],
        action=("Create an account", context["signup_url"]),
        why="because this address was typed into the password form. If it was not you, do nothing.",
    )


def _notice(subject: str, text: str) -> Callable[[dict[str, Any]], Letter]:
    def letter(context: dict[str, Any]) -> Letter:
        at, address = context["timestamp"], context["ip"]
        return Letter(
            subject=subject,
            paragraphs=[text],
            small=[f"At {at:%H:%M} UTC on {at.day} {at:%b %Y}, from {address}. {_NOT_YOU}"],
            why="because it concerns the security of your account.",
        )

    return letter


BY_EVENT: dict[str, Callable[[dict[str, Any]], Letter]] = {
    "account/email/email_confirmation_signup": confirm_address,
    "account/email/email_confirmation": confirm_change,
    "account/email/account_already_exists": already_open,
    "account/email/password_reset_key": reset_password,
    "account/email/unknown_account": no_account,
    "account/email/password_changed": _notice("Your password was changed", "The password of your account was changed."),
    "account/email/password_reset": _notice(
        "Your password was reset", "A new password was set with a link from a mail."
    ),
    "account/email/password_set": _notice("A password was set", "Your account can be opened with a password now."),
    "account/email/email_changed": _notice("Your address was changed", "You sign in with another address now."),
    "account/email/email_confirm": _notice("Your address is confirmed", "This address was confirmed."),
    "account/email/email_deleted": _notice("An address was removed", "This address no longer belongs to your account."),
    "mfa/email/totp_activated": _notice(
        "Second factor is on", "Signing in asks for a code of your authenticator app now."
    ),
    "mfa/email/totp_deactivated": _notice(
        "Second factor is off", "Signing in no longer asks for a code of your authenticator app."
    ),
    "mfa/email/recovery_codes_generated": _notice(
        "New recovery codes were made", "The recovery codes you had before no longer work."
    ),
}
