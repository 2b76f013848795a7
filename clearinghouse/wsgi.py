"""The door of the web process."""

import os

from django.core.wsgi import get_wsgi_application

from clearinghouse.celery import app as celery_app

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "clearinghouse.settings")
application = get_wsgi_application()
celery_app.set_default()  # pages and the webhook wake the worker through the same broker
