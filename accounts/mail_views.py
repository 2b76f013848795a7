"""The demo's mailbox; where mails really go out these pages do not exist."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import require_GET

from accounts.models import Mail

# The mail is shown in a frame of this site; it may be styled inline as mails are, and nothing else.
FRAME = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"


def _demo_only[**P](
    view: Callable[Concatenate[HttpRequest, P], HttpResponse],
) -> Callable[Concatenate[HttpRequest, P], HttpResponse]:
    @wraps(view)
    def door(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        if not settings.MAIL_PAGE:
            raise Http404
        return view(request, *args, **kwargs)

    return door


@require_GET
@_demo_only
def mails(request: HttpRequest) -> HttpResponse:
    return render(request, "accounts/mails.html", {"mails": Mail.objects.order_by("-id")[:100]})


@require_GET
@_demo_only
def mail(request: HttpRequest, mail_id: int) -> HttpResponse:
    return render(request, "accounts/mail.html", {"mail": get_object_or_404(Mail, pk=mail_id)})


@require_GET
@xframe_options_sameorigin
@_demo_only
def mail_html(request: HttpRequest, mail_id: int) -> HttpResponse:
    """The mail as a mail program would show it; its links open in the whole window."""
    html = get_object_or_404(Mail, pk=mail_id).html
    page = html.replace("<head>", '<head><base target="_top">', 1)
    return HttpResponse(page, headers={"Content-Security-Policy": FRAME})
