"""One page: how many notes there are, and which process answers."""
import os

from django.http import HttpResponse
from django.urls import path

from notes.models import Note


def index(request):
    return HttpResponse(f"{Note.objects.count()} notes, pid {os.getpid()}\n", content_type="text/plain")


urlpatterns = [path("", index)]
