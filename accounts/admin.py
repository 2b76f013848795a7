"""The staff console's view of people; what has a history of its own is read-only here."""

from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.auth.models import Group
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline

from accounts import audit
from accounts.models import ApiKey, AuditEntry, Customer, Membership, User

admin.site.unregister(Group)


class ReadOnly:
    """Looking is allowed, changing is not."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class NeverDeleted:
    """Rows that others point to for ever."""

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class MembershipInline(ReadOnly, TabularInline):  # type: ignore[misc]  # unfold has no types
    model = Membership
    extra = 0
    fields: ClassVar[list[str]] = ["user", "role", "created_at"]
    readonly_fields = fields


class ApiKeyInline(ReadOnly, TabularInline):  # type: ignore[misc]
    model = ApiKey
    extra = 0
    fields: ClassVar[list[str]] = ["name", "prefix", "created_at", "last_used_at", "revoked_at"]
    readonly_fields = fields


@admin.register(Customer)
class CustomerAdmin(NeverDeleted, ModelAdmin):  # type: ignore[misc]
    """The name can be changed, which is in the audit log; holds and closing have the risk page."""

    list_display: ClassVar[list[str]] = ["name", "status", "created_at"]
    list_filter: ClassVar[list[str]] = ["status"]
    search_fields: ClassVar[list[str]] = ["name", "members__email"]
    fields: ClassVar[list[str]] = ["name", "status", "created_at"]
    readonly_fields: ClassVar[list[str]] = ["status", "created_at"]
    inlines: ClassVar[list[Any]] = [MembershipInline, ApiKeyInline]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

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
class UserAdmin(NeverDeleted, ModelAdmin):  # type: ignore[misc]
    """Who may sign in, and who is staff; passwords are set by their owners alone."""

    list_display: ClassVar[list[str]] = ["email", "name", "is_staff", "is_active", "last_login"]
    list_filter: ClassVar[list[str]] = ["is_staff", "is_active"]
    search_fields: ClassVar[list[str]] = ["email", "name"]
    ordering: ClassVar[list[str]] = ["email"]
    fields: ClassVar[list[str]] = [
        *("email", "name", "is_active", "is_staff", "is_superuser", "groups", "user_permissions"),
        *("last_login", "date_joined"),
    ]
    readonly_fields: ClassVar[list[str]] = ["email", "last_login", "date_joined"]
    filter_horizontal: ClassVar[list[str]] = ["groups", "user_permissions"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """Only superusers hand out rights."""
        rights = ["is_staff", "is_superuser", "groups", "user_permissions"]
        return [*self.readonly_fields, *([] if request.user.is_superuser else rights)]

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        names = ["is_active", "is_staff", "is_superuser"]
        before = User.objects.values(*names).get(pk=obj.pk)
        super().save_model(request, obj, form, change)
        after = {name: getattr(obj, name) for name in names}
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
class MembershipAdmin(ReadOnly, ModelAdmin):  # type: ignore[misc]
    list_display: ClassVar[list[str]] = ["customer", "user", "role", "created_at"]
    list_filter: ClassVar[list[str]] = ["role"]
    search_fields: ClassVar[list[str]] = ["customer__name", "user__email"]
    list_select_related: ClassVar[list[str]] = ["customer", "user"]


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnly, ModelAdmin):  # type: ignore[misc]
    """Keys without their digest, which nobody needs to see."""

    list_display: ClassVar[list[str]] = ["name", "prefix", "customer", "created_at", "last_used_at", "revoked_at"]
    list_filter: ClassVar[list[str]] = ["revoked_at"]
    search_fields: ClassVar[list[str]] = ["name", "prefix", "customer__name"]
    list_select_related: ClassVar[list[str]] = ["customer"]
    exclude: ClassVar[list[str]] = ["secret_sha256"]


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnly, ModelAdmin):  # type: ignore[misc]
    list_display: ClassVar[list[str]] = ["at", "action", "subject", "actor", "customer"]
    list_filter: ClassVar[list[str]] = ["action"]
    search_fields: ClassVar[list[str]] = ["action", "subject", "actor__email", "customer__name"]
    list_select_related: ClassVar[list[str]] = ["actor", "customer"]
    date_hierarchy = "at"
