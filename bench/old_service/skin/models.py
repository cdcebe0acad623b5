from django.conf import settings
from django.db import models


class Result(models.Model):
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE)
    image = models.ImageField(upload_to="uploads/")
    heatmap = models.ImageField(upload_to="heatmaps/", null=True)
    predictions = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True)
