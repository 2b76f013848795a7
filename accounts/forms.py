"""Forms of the people's pages."""

from django import forms
from django.http import HttpRequest

from accounts import customers
from accounts.models import User


class SignupForm(forms.Form):
    """What sign-up asks beside e-mail and password: the name of the account that will pay."""

    company = forms.CharField(max_length=120, label="Company or project")

    def signup(self, request: HttpRequest, user: User) -> None:
        customers.open_for(user, name=self.cleaned_data["company"])
