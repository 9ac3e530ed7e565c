"""The pages of the photo desk."""

from django.shortcuts import get_object_or_404, render

from .models import Photo


def photo_list(request):
    """Show every photo with its palette."""
    return render(request, "photos/list.html", {"photos": Photo.objects.all()})


def photo_page(request, slug):
    """Show one photo in full, and its colours."""
    return render(request, "photos/photo.html", {"photo": get_object_or_404(Photo, slug=slug)})
