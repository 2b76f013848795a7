"""The customer's doors to the product: overview, sessions and payments."""

from django.urls import path

from signing import views
from signing.discovery.views import orchestrators
from signing.key_prices import key_prices

urlpatterns = [
    path("", views.overview, name="overview"),
    path("keys/<int:key_id>/prices/", key_prices, name="key_prices"),
    path("usage/", views.usage_list, name="usage"),
    path("usage/payments.csv", views.usage_as_csv, name="usage_csv"),
    path("usage/<uuid:session_id>/", views.usage_session, name="usage_session"),
    path("usage/<uuid:session_id>/payments/<int:charge_id>/", views.usage_payment, name="usage_payment"),
    path("orchestrators/", orchestrators, name="orchestrators"),
]
