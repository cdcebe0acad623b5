"""Django's defaults, an SQLite file and a media folder below DATA_DIR."""
import os
from pathlib import Path

DATA = Path(os.environ["DATA_DIR"])
MODEL_PATH = os.environ["MODEL_PATH"]
ENABLE_GRADCAM = os.environ.get("ENABLE_GRADCAM", "True") == "True"
SECRET_KEY = os.environ.get("SECRET_KEY", "only ever on the loopback, for a measurement")
DEBUG = os.environ.get("DEBUG", "False") == "True"
ALLOWED_HOSTS = os.environ.get("ALLOWED_HOSTS", "127.0.0.1,localhost").split(",")
INSTALLED_APPS = ["django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions",
                  "django.contrib.messages", "django.contrib.staticfiles", "skin"]
MIDDLEWARE = ["django.middleware.security.SecurityMiddleware", "django.contrib.sessions.middleware.SessionMiddleware",
              "django.middleware.common.CommonMiddleware", "django.middleware.csrf.CsrfViewMiddleware",
              "django.contrib.auth.middleware.AuthenticationMiddleware",
              "django.contrib.messages.middleware.MessageMiddleware",
              "django.middleware.clickjacking.XFrameOptionsMiddleware"]
ROOT_URLCONF = "skin.urls"
WSGI_APPLICATION = "skin.wsgi.application"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True,
              "OPTIONS": {"context_processors": ["django.template.context_processors.request",
                                                 "django.contrib.auth.context_processors.auth",
                                                 "django.contrib.messages.context_processors.messages"]}}]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": DATA / "db.sqlite3"}}
MEDIA_ROOT, MEDIA_URL, STATIC_URL = DATA / "media", "/media/", "/static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE, TIME_ZONE, USE_TZ = "vi", "Asia/Ho_Chi_Minh", True
UPLOAD_BYTES = 5 << 20
DATA_UPLOAD_MAX_MEMORY_SIZE = UPLOAD_BYTES * 2  # a data URL of the largest picture
