from django.conf import settings
from django.urls import path, re_path
from django.views.static import serve

from . import views

urlpatterns = [
    path("", views.home),
    path("upload/", views.upload),
    path("result/<int:pk>/", views.result, name="result"),
    path("health/", views.health),
    path("memory/", views.memory),
    re_path(r"^media/(?P<path>.*)$", serve, {"document_root": settings.MEDIA_ROOT}),
]
