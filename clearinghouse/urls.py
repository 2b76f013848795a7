"""Every page door of the web process."""

from django.contrib import admin
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import include, path

from accounts.access import CustomerRequest, StaffRequest, customer_required, staff_required


@customer_required
def _overview(request: CustomerRequest) -> HttpResponse:
    return render(request, "soon.html", {"name": "Overview"})


@staff_required
def _treasury(request: StaffRequest) -> HttpResponse:
    return render(request, "soon.html", {"name": "Treasury"})


urlpatterns = [
    path("", _overview, name="overview"),
    path("treasury/", _treasury, name="treasury"),
    path("", include("accounts.urls")),
    path("", include("billing.urls")),
    path("staff/", admin.site.urls),
]
