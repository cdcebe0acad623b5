import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "skin.settings")
application = get_wsgi_application()
from . import urls  # noqa: E402,F401  loads TensorFlow now, not with the first request
