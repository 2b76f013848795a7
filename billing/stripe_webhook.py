"""The provider's door: verify, write the row, answer; what it means is decided later, from the row."""

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from billing import inbox, stripe_gateway, tasks
from billing.models import StripeEvent


@csrf_exempt
@require_POST
def receive(request: HttpRequest) -> HttpResponse:
    """200 once the event stands in the inbox, 400 when nobody we know signed it (then nothing is kept)."""
    try:
        event = stripe_gateway.verify_event(request.body, request.headers.get("Stripe-Signature", ""))
    except stripe_gateway.BadSignature:
        return HttpResponse("The signature is not right.\n", status=400, content_type="text/plain")
    inbox.keep([event], source=StripeEvent.Source.WEBHOOK)
    tasks.wake(tasks.handle_stripe_events)
    return HttpResponse(status=200)
