"""The staff console's view of people; what has a history of its own is read-only here."""

from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline

from accounts import audit
from accounts.models import ApiKey, AuditEntry, Customer, Membership, User

admin.site.unregister(Group)


class Guarded:
    """Who holds `right`, a name of accounts/roles.py, may look; nobody adds, changes or deletes."""

    right: ClassVar[str]

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.site.has_permission(request) and request.user.has_perm(self.right)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class MembershipInline(Guarded, TabularInline):  # type: ignore[misc]  # unfold has no types
    right = "customers.see"
    model = Membership
    extra = 0
    fields: ClassVar[list[str]] = ["user", "role", "created_at"]
    readonly_fields = fields


class ApiKeyInline(Guarded, TabularInline):  # type: ignore[misc]
    right = "keys.see"
    model = ApiKey
    extra = 0
    fields: ClassVar[list[str]] = ["name", "prefix", "created_at", "last_used_at", "revoked_at"]
    readonly_fields = fields


@admin.register(Customer)
class CustomerAdmin(Guarded, ModelAdmin):  # type: ignore[misc]
    """The name can be changed, which is in the audit log; holds and closing have the risk page."""

    right = "customers.see"
    list_display: ClassVar[list[str]] = ["name", "status", "created_at"]
    list_filter: ClassVar[list[str]] = ["status"]
    search_fields: ClassVar[list[str]] = ["name", "members__email"]
    fields: ClassVar[list[str]] = ["name", "status", "created_at"]
    readonly_fields: ClassVar[list[str]] = ["status", "created_at"]
    inlines: ClassVar[list[Any]] = [MembershipInline, ApiKeyInline]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.site.has_permission(request) and request.user.has_perm("customers.change")

    def save_model(self, request: HttpRequest, obj: Customer, form: Any, change: bool) -> None:
        before = Customer.objects.values("name").get(pk=obj.pk)
        after = {"name": obj.name}
        Customer.objects.filter(pk=obj.pk).update(**after)
        if before != after:
            assert isinstance(request.user, User)
            audit.write(
                "customer.changed_by_staff",
                subject=f"customer:{obj.pk}",
                actor=request.user,
                customer=obj,
                before=before,
                after=after,
            )


@admin.register(User)
class UserAdmin(Guarded, ModelAdmin):  # type: ignore[misc]
    """Who may sign in; roles are given on their own page, and passwords are set by their owners alone."""

    right = "people.see"
    list_display: ClassVar[list[str]] = ["email", "name", "roles", "is_active", "last_login"]
    list_filter: ClassVar[list[str]] = ["is_staff", "is_active", "groups"]
    search_fields: ClassVar[list[str]] = ["email", "name"]
    ordering: ClassVar[list[str]] = ["email"]
    fields: ClassVar[list[str]] = ["email", "name", "is_active", "roles", "last_login", "date_joined"]
    readonly_fields: ClassVar[list[str]] = ["email", "roles", "last_login", "date_joined"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        found: QuerySet[User] = super().get_queryset(request)
        return found.prefetch_related("groups")

    @admin.display(description="Staff")
    def roles(self, user: User) -> str:
        names = [group.name for group in user.groups.all()] if user.is_staff else []
        return ", ".join([*names, *(["superuser"] if user.is_superuser else [])]) or "–"

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.site.has_permission(request) and request.user.has_perm("people.change")

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        names = ["name", "is_active"]
        before = User.objects.values(*names).get(pk=obj.pk)
        after = {name: getattr(obj, name) for name in names}
        User.objects.filter(pk=obj.pk).update(**after)
        if before != after:
            assert isinstance(request.user, User)
            audit.write(
                "user.changed_by_staff",
                subject=f"user:{obj.pk}",
                actor=request.user,
                before=before,
                after=after,
            )


@admin.register(Membership)
class MembershipAdmin(Guarded, ModelAdmin):  # type: ignore[misc]
    right = "customers.see"
    list_display: ClassVar[list[str]] = ["customer", "user", "role", "created_at"]
    list_filter: ClassVar[list[str]] = ["role"]
    search_fields: ClassVar[list[str]] = ["customer__name", "user__email"]
    list_select_related: ClassVar[list[str]] = ["customer", "user"]


@admin.register(ApiKey)
class ApiKeyAdmin(Guarded, ModelAdmin):  # type: ignore[misc]
    """Keys without their digest, which nobody needs to see."""

    right = "keys.see"
    list_display: ClassVar[list[str]] = ["name", "prefix", "customer", "created_at", "last_used_at", "revoked_at"]
    list_filter: ClassVar[list[str]] = ["revoked_at"]
    search_fields: ClassVar[list[str]] = ["name", "prefix", "customer__name"]
    list_select_related: ClassVar[list[str]] = ["customer"]
    exclude: ClassVar[list[str]] = ["secret_sha256"]


@admin.register(AuditEntry)
class AuditEntryAdmin(Guarded, ModelAdmin):  # type: ignore[misc]
    right = "audit.see"
    list_display: ClassVar[list[str]] = ["at", "action", "subject", "actor", "customer"]
    list_filter: ClassVar[list[str]] = ["action"]
    search_fields: ClassVar[list[str]] = ["action", "subject", "actor__email", "customer__name"]
    list_select_related: ClassVar[list[str]] = ["actor", "customer"]
    date_hierarchy = "at"
