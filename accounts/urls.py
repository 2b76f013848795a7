"""The doors about people: entering, settings, API keys, and a demo's mails."""

from django.urls import include, path

from accounts import entrance, key_views, mail_views, views

urlpatterns = [
    path("accounts/signup/", entrance.SignupView.as_view(), name="account_signup"),
    path("accounts/", include("allauth.urls")),
    path("settings/", views.settings_page, name="settings"),
    path("settings/profile/", views.save_profile, name="save_profile"),
    path("settings/account/", views.save_account, name="save_account"),
    path("settings/account/new/", views.open_account, name="open_account"),
    path("settings/account/<int:customer_id>/", views.choose_customer, name="choose_customer"),
    path("keys/", key_views.api_keys, name="api_keys"),
    path("keys/new/", key_views.create_api_key, name="create_api_key"),
    path("keys/<int:key_id>/", key_views.api_key, name="api_key"),
    path("keys/<int:key_id>/revoke/", key_views.revoke_api_key, name="revoke_api_key"),
    path("demo/mail/", mail_views.mails, name="mails"),
    path("demo/mail/<int:mail_id>/", mail_views.mail, name="mail"),
    path("demo/mail/<int:mail_id>/html/", mail_views.mail_html, name="mail_html"),
]
