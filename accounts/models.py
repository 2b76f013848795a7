"""The rows behind 'who is asking': users, customers, holds, seats, invitations, keys, notices, the audit log, mails."""

from typing import Any, ClassVar

from django.contrib.auth.base_user import BaseUserManager
from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models.functions import Now


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        user = self.model(email=self.normalize_email(email).lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)


class User(AbstractUser):
    """A person who signs in with an e-mail address."""

    username = None  # type: ignore[assignment]  # the e-mail address is the name
    first_name = None  # type: ignore[assignment]
    last_name = None  # type: ignore[assignment]
    name = models.CharField(max_length=120, blank=True)
    email = models.EmailField(unique=True)

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    objects = UserManager()  # type: ignore[misc,assignment]

    def get_full_name(self) -> str:
        return self.name or self.email

    def get_short_name(self) -> str:
        return self.name or self.email


class Customer(models.Model):
    """Who pays: an account with members, keys and one wallet."""

    class Status(models.TextChoices):
        ACTIVE = "active", "Active"
        FROZEN = "frozen", "Frozen"
        CLOSED = "closed", "Closed"

    name = models.CharField(max_length=120)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.ACTIVE)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    members = models.ManyToManyField(User, through="Membership", related_name="customers")

    def __str__(self) -> str:
        return self.name


class Hold(models.Model):
    """A reason to let a customer neither pay nor be paid; an account with one that stands is frozen.

    Placed once per reference and lifted once, by functions in the database alone: accounts/sql/holds.sql.
    """

    class Code(models.TextChoices):
        DISPUTE = "dispute", "Disputed payment"
        FRAUD_WARNING = "fraud_warning", "Early fraud warning"
        FRAUD = "fraud", "Signs of fraud"
        BAD_DEBT = "bad_debt", "Debt given up"
        STAFF = "staff", "Placed by staff"

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="holds")
    code = models.CharField(max_length=20, choices=Code.choices)
    reference = models.CharField(max_length=200, unique=True)
    reason = models.CharField(max_length=500)
    placed_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    placed_at = models.DateTimeField(db_default=Now(), editable=False)
    lifted_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    lifted_at = models.DateTimeField(null=True)
    lift_reason = models.CharField(max_length=500, blank=True, db_default="")

    class Meta:
        indexes = [models.Index(fields=["customer"], condition=models.Q(lifted_at=None), name="standing_holds")]

    def __str__(self) -> str:
        return f"{self.get_code_display()}: {self.reason}"


class Membership(models.Model):
    """A user's seat at a customer."""

    class Role(models.TextChoices):
        OWNER = "owner", "Owner"
        MEMBER = "member", "Member"

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role.choices)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["customer", "user"], name="one_seat_per_user")]


class Invitation(models.Model):
    """An owner asks whoever has an address to take a seat; open until it is accepted, withdrawn or out of time."""

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="invitations")
    email = models.EmailField()
    role = models.CharField(max_length=10, choices=Membership.Role.choices)
    invited_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    invited_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField()
    accepted_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    accepted_at = models.DateTimeField(null=True)
    withdrawn_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["customer", "email"],
                condition=models.Q(accepted_at=None, withdrawn_at=None),
                name="one_open_invitation",
            ),
            models.CheckConstraint(
                condition=models.Q(accepted_at=None) | models.Q(withdrawn_at=None), name="invitation_ends_once"
            ),
        ]
        indexes = [models.Index(fields=["email"], name="invitation_by_email")]


class ApiKey(models.Model):
    """A credential of a gateway: its secret is shown once and kept only as a SHA-256 digest."""

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="api_keys")
    name = models.CharField(max_length=80)
    prefix = models.CharField(max_length=16, unique=True)
    secret_sha256 = models.BinaryField(max_length=32, unique=True)
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    last_used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["customer", "name"],
                condition=models.Q(revoked_at=None),
                name="one_active_key_per_name",
            ),
            # What usage refers to: a key together with its owner.
            models.UniqueConstraint(fields=["customer", "id"], name="key_of_its_customer"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class AuditEntry(models.Model):
    """Who did what, when, to which thing; written once."""

    at = models.DateTimeField(db_default=Now(), editable=False)
    actor = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, null=True, related_name="+")
    action = models.CharField(max_length=60)
    subject = models.CharField(max_length=120)
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)

    class Meta:
        verbose_name_plural = "audit entries"
        indexes = [models.Index(fields=["customer", "at"], name="audit_by_customer")]


class TermsAcceptance(models.Model):
    """Somebody accepted a version of the terms: when, and from where; written once."""

    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="terms")
    version = models.CharField(max_length=40)
    address = models.GenericIPAddressField(null=True)
    user_agent = models.CharField(max_length=300, blank=True)
    at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        indexes = [models.Index(fields=["user", "version"], name="terms_by_user")]


class Mail(models.Model):
    """A mail that a demo keeps to be read on a page, because nothing there goes out."""

    to = models.EmailField()
    subject = models.CharField(max_length=200)
    text = models.TextField()
    html = models.TextField(blank=True)
    sent_at = models.DateTimeField(db_default=Now(), editable=False)

    def __str__(self) -> str:
        return f"{self.subject} ({self.to})"


class Notice(models.Model):
    """A letter about an account, to an owner or to staff: written with the fact that it tells, sent once by the clock.

    `letter` holds the words as they were true then; `reference` names the fact, such as `dispute:dp_1:open`.
    """

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="notices")
    reference = models.CharField(max_length=200)
    to = models.EmailField()
    letter = models.JSONField()
    written_at = models.DateTimeField(db_default=Now(), editable=False)
    not_before = models.DateTimeField(db_default=Now())
    attempts = models.PositiveSmallIntegerField(db_default=0)
    sent_at = models.DateTimeField(null=True)
    error = models.CharField(max_length=60, blank=True, db_default="")

    class Meta:
        indexes = [
            models.Index(fields=["not_before"], condition=models.Q(sent_at=None), name="notices_that_wait"),
            models.Index(fields=["customer", "-id"], name="notice_by_customer"),
        ]
        constraints = [models.UniqueConstraint(fields=["reference", "to"], name="one_notice_of_a_fact")]


class Approval(models.Model):
    """What one member of staff asks for, a second one decides, and the worker carries out once.

    The database keeps the rules, whoever writes: accounts/sql/approvals.sql.
    """

    class Status(models.TextChoices):
        ASKED = "asked", "Waiting"
        APPROVED = "approved", "Approved"
        DECLINED = "declined", "Declined"
        EXPIRED = "expired", "Expired"
        WITHDRAWN = "withdrawn", "Withdrawn"
        DONE = "done", "Done"
        FAILED = "failed", "Failed"

    kind = models.CharField(max_length=60)
    payload = models.JSONField()
    reason = models.CharField(max_length=500)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, null=True, related_name="+")
    once = models.CharField(max_length=120, blank=True, db_default="")
    asked_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    asked_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField()
    status = models.CharField(max_length=10, choices=Status.choices, db_default=Status.ASKED)
    decided_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    decided_at = models.DateTimeField(null=True)
    note = models.CharField(max_length=500, blank=True, db_default="")
    done_at = models.DateTimeField(null=True)
    error = models.TextField(blank=True, db_default="")
    # When the mails that this row calls for were sent: to those who may decide, and of its end to who asked.
    announced_at = models.DateTimeField(null=True)
    answered_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["status", "id"], name="approval_by_status"),
            models.Index(fields=["asked_by", "-id"], name="approval_by_asker"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["kind", "once"], condition=~models.Q(once=""), name="approval_asked_once"),
            models.CheckConstraint(
                condition=models.Q(decided_by=None) | ~models.Q(decided_by=models.F("asked_by")),
                name="approval_by_a_second_person",
            ),
            models.CheckConstraint(
                condition=models.Q(
                    status__in=["approved", "declined", "done", "failed"],
                    decided_by__isnull=False,
                    decided_at__isnull=False,
                )
                | models.Q(status__in=["asked", "expired", "withdrawn"], decided_by=None, decided_at=None),
                name="approval_decided_by_somebody",
            ),
            models.CheckConstraint(
                condition=models.Q(status="done", done_at__isnull=False)
                | (~models.Q(status="done") & models.Q(done_at=None)),
                name="approval_done_at_a_time",
            ),
        ]

    def __str__(self) -> str:
        return f"Request {self.pk}"
