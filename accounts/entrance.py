"""Sign-up: a user and the account it opens are made together or not at all."""

from typing import Any

from allauth.account import views
from django.conf import settings
from django.db import IntegrityError, transaction
from django.http import HttpResponse


class SignupView(views.SignupView):  # type: ignore[misc]  # allauth has no types
    """allauth's own, in one transaction, and quiet when the same form arrives twice at once."""

    def form_valid(self, form: Any) -> HttpResponse:
        if form.account_already_exists:  # answers by mail, so nothing may be open here
            return self._answer(form)
        try:
            with transaction.atomic():
                form.saved = form.save(self.request)
        except IntegrityError:
            form.account_already_exists = True
            return self._answer(form)
        form.try_save = lambda request: (form.saved, None)
        return self._answer(form)

    def get_context_data(self, **given: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context_data(**given)
        return {**context, "terms_version": settings.TERMS_VERSION, "terms_url": settings.TERMS_URL}

    def _answer(self, form: Any) -> HttpResponse:
        response: HttpResponse = super().form_valid(form)
        return response
