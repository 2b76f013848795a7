"""The doors about people: entering, settings, API keys, approvals, roles, the audit log, and a demo's mails."""

from django.urls import include, path

from accounts import approval_views, audit_views, entrance, key_views, mail_views, people_views, views

urlpatterns = [
    path("accounts/signup/", entrance.SignupView.as_view(), name="account_signup"),
    path("accounts/", include("allauth.urls")),
    path("settings/", views.settings_page, name="settings"),
    path("settings/profile/", views.save_profile, name="save_profile"),
    path("settings/account/", views.save_account, name="save_account"),
    path("settings/members/invite/", views.invite_member, name="invite_member"),
    path("settings/members/<int:membership_id>/remove/", views.remove_member, name="remove_member"),
    path("settings/invitations/<int:invitation_id>/withdraw/", views.withdraw_invitation, name="withdraw_invitation"),
    path("settings/invitations/<int:invitation_id>/accept/", views.accept_invitation, name="accept_invitation"),
    path("settings/account/new/", views.open_account, name="open_account"),
    path("settings/account/<int:customer_id>/", views.choose_customer, name="choose_customer"),
    path("keys/", key_views.api_keys, name="api_keys"),
    path("keys/new/", key_views.create_api_key, name="create_api_key"),
    path("keys/<int:key_id>/", key_views.api_key, name="api_key"),
    path("keys/<int:key_id>/revoke/", key_views.revoke_api_key, name="revoke_api_key"),
    path("approvals/", approval_views.approval_list, name="approvals"),
    path("approvals/<int:approval_id>/", approval_views.approval, name="approval"),
    path("approvals/<int:approval_id>/decide/", approval_views.decide_approval, name="decide_approval"),
    path("approvals/<int:approval_id>/withdraw/", approval_views.withdraw_approval, name="withdraw_approval"),
    path("approvals/<int:approval_id>/again/", approval_views.ask_again, name="ask_approval_again"),
    path("people/", people_views.people_page, name="people"),
    path("people/<int:user_id>/take/", people_views.take_role, name="take_role"),
    path("audit/", audit_views.audit_log, name="audit_log"),
    path("demo/mail/", mail_views.mails, name="mails"),
    path("demo/mail/<int:mail_id>/", mail_views.mail, name="mail"),
    path("demo/mail/<int:mail_id>/html/", mail_views.mail_html, name="mail_html"),
]
