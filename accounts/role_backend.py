"""How `user.has_perm("refunds.ask")` is answered: from the roles a member of staff has, by the table of rights."""

from typing import Any

from django.contrib.auth.backends import BaseBackend

from accounts import roles
from accounts.models import User

_KEPT = "_rights_kept"


class RoleBackend(BaseBackend):
    """Roles are Django's groups; what a role may do stands in accounts/roles.py and nowhere in the database.

    A superuser is let through by Django itself, which is what the role `admin` comes to.
    """

    def get_group_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        """The rights, read once for each user object; somebody who left or is no staff has none."""
        if not isinstance(user_obj, User) or not user_obj.is_active or not user_obj.is_staff or obj is not None:
            return set()
        kept: set[str] | None = getattr(user_obj, _KEPT, None)
        if kept is None:
            kept = set(roles.rights_of(user_obj.groups.values_list("name", flat=True)))
            setattr(user_obj, _KEPT, kept)
        return kept
