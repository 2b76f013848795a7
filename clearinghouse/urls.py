"""Every page door of the web process."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("signing.urls")),
    path("", include("accounts.urls")),
    path("", include("billing.urls")),
    path("", include("signing.staff_urls")),
    path("staff/", admin.site.urls),
]
