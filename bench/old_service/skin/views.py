import base64
import io

import psutil
from django.conf import settings
from django.core.files.base import ContentFile
from django.http import HttpResponse, HttpResponseBadRequest, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from . import network
from .models import Result


def home(request):
    return render(request, "skin/home.html")


def _picture(request):
    """The bytes of the field `image`: a file, or a data URL of the camera."""
    if "image" in request.FILES:
        return request.FILES["image"].read()
    head, _, data = request.POST.get("image", "").partition(";base64,")
    return base64.b64decode(data) if head.startswith("data:image/") else b""


@csrf_exempt  # a plain curl may send
@require_POST
def upload(request):
    data = _picture(request)
    if not data:
        return HttpResponseBadRequest("no image")
    if len(data) > settings.UPLOAD_BYTES:
        return HttpResponse("too large", status=413)
    ranked, overlay = network.look_at(io.BytesIO(data))
    result = Result(predictions=[{"class": name, "percent": round(p * 100, 2)} for name, p in ranked],
                    user=request.user if request.user.is_authenticated else None)
    result.image.save("photo.jpg", ContentFile(data), save=False)
    if overlay:
        result.heatmap.save("heatmap.png", ContentFile(overlay), save=False)
    result.save()
    return redirect("result", result.pk)


def result(request, pk):
    return render(request, "skin/result.html", {"result": get_object_or_404(Result, pk=pk)})


def health(request):
    return HttpResponse("ok")


def memory(request):
    process = psutil.Process()
    info = process.memory_info()
    return JsonResponse({"status": "ok", "memory": {"rss_mb": round(info.rss / 2**20, 2), "vms_mb": round(info.vms / 2**20, 2),
                                                    "percent": round(process.memory_percent(), 2)},
                         "model_loaded": network.loaded(), "gradcam_enabled": settings.ENABLE_GRADCAM})
