"""Forms of the people's pages; each error says what is wrong, then what would be right."""

from django import forms
from django.core.validators import RegexValidator
from django.http import HttpRequest

from accounts import customers, members, terms
from accounts.models import Membership, User

key_name = RegexValidator(r"^[A-Za-z0-9][A-Za-z0-9._-]*$", "Use letters, digits and hyphens, for example gw-fra-1.")


def _required(text: str) -> dict[str, str]:
    return {"required": text}


class SignupForm(forms.Form):
    """What sign-up asks beside e-mail and password: the name of the account that will pay."""

    company = forms.CharField(
        max_length=120,
        label="Company or project",
        widget=forms.TextInput(attrs={"autocomplete": "organization"}),
        error_messages=_required("Name the company or project that pays, for example Example Gateway."),
    )
    field_order = ["company", "email", "password1"]

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # whatever allauth's own form passes
        self.fields["email"].error_messages.update(  # a field of allauth's form, which this one is the base of
            required="Give an address that can receive mail, for example ana@example.com.",
            invalid="This is not a whole address. One looks like ana@example.com.",
        )

    def signup(self, request: HttpRequest, user: User) -> None:
        # Whoever was invited chooses after the address is confirmed: that account, or one of their own.
        if not members.is_invited(user.email):
            customers.open_for(user, name=self.cleaned_data["company"])
        terms.accept(request, user)


class AccountForm(forms.Form):
    """The name of an account, for its owner."""

    company = forms.CharField(
        max_length=120,
        label="Company or project",
        widget=forms.TextInput(attrs={"autocomplete": "organization"}),
        error_messages=_required("An account needs a name, for example Example Gateway."),
    )


class InviteForm(forms.Form):
    """Whom an owner wants beside them, and as what."""

    email = forms.EmailField(
        max_length=254,
        label="Email",
        widget=forms.EmailInput(attrs={"autocomplete": "off"}),
        error_messages={
            "required": "Name the address of a colleague, for example ana@example.com.",
            "invalid": "This is not a whole address. One looks like ana@example.com.",
        },
    )
    role = forms.ChoiceField(
        choices=[(Membership.Role.MEMBER, "Member"), (Membership.Role.OWNER, "Owner")], label="Role"
    )


class ProfileForm(forms.Form):
    """How a person is called in lists and logs; empty means by the address."""

    name = forms.CharField(
        max_length=120,
        required=False,
        label="Your name",
        widget=forms.TextInput(attrs={"autocomplete": "name"}),
    )


class KeyForm(forms.Form):
    """The name of an API key."""

    name = forms.CharField(
        max_length=40,
        label="Name",
        validators=[key_name],
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        error_messages=_required("Give the key a name, for example gw-fra-1."),
    )


class RevokeForm(forms.Form):
    """The typed name that proves the right key is meant."""

    typed = forms.CharField(
        max_length=80,
        required=False,
        label="Name of the key",
        strip=True,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    def __init__(self, data: object = None, *, name: str) -> None:
        super().__init__(data)  # type: ignore[arg-type]  # a QueryDict or None
        self._name = name

    def clean_typed(self) -> str:
        typed: str = self.cleaned_data["typed"]
        if typed != self._name:
            raise forms.ValidationError(f"Type {self._name}, the name of the key to revoke.")
        return typed
