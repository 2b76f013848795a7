"""Every page door of the web process."""

from django.contrib import admin
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import include, path

from accounts.access import CustomerRequest, customer_required


@customer_required
def _overview(request: CustomerRequest) -> HttpResponse:
    return render(request, "soon.html", {"name": "Overview"})


urlpatterns = [
    path("", _overview, name="overview"),
    path("", include("accounts.urls")),
    path("", include("billing.urls")),
    path("", include("signing.staff_urls")),
    path("staff/", admin.site.urls),
]
