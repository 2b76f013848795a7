"""The evidence pack of an account, with the sessions that only signers know."""

import tempfile

from django.http import FileResponse, HttpResponseBase
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from accounts import audit
from accounts.access import StaffRequest, staff_required
from accounts.models import Customer
from billing import evidence
from billing.exports import cells
from signing.models import SignerSession

_IN_MEMORY_BYTES = 8 * 2**20
_COLUMNS = (
    *("session", "opened_at", "last_update", "api_key_prefix", "app", "orchestrator"),
    *("address", "user_agent", "last_address", "last_user_agent"),
)


@never_cache
@require_GET
@staff_required("risk.see")
def evidence_pack(request: StaffRequest, customer_id: int) -> HttpResponseBase:
    """One ZIP file; that somebody took it away is in the audit log."""
    customer = get_object_or_404(Customer, pk=customer_id)
    # The response closes it.
    file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115
    manifest = evidence.write(file, customer, sessions=_sessions(customer), now=timezone.now())
    audit.write(
        "evidence.exported",
        subject=f"customer:{customer.pk}",
        actor=request.user,
        customer=customer,
        after={"files": len(manifest["files"])},
    )
    file.seek(0)
    name = f"evidence-{customer.pk}.zip"
    return FileResponse(file, as_attachment=True, filename=name, content_type="application/zip")


def _sessions(customer: Customer) -> evidence.Table:
    rows = SignerSession.objects.filter(customer=customer).select_related("api_key").order_by("opened_at")
    return _COLUMNS, (
        (
            session.id,
            session.opened_at.isoformat(timespec="seconds"),
            session.last_update.isoformat(timespec="seconds"),
            session.api_key.prefix,
            cells.text(session.app),
            session.orchestrator,
            session.client_ip or "",
            cells.text(session.user_agent),
            session.last_client_ip or "",
            cells.text(session.last_user_agent),
        )
        for session in rows.iterator()
    )
