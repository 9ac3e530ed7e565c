"""The addresses of the site."""

from django.conf import settings
from django.conf.urls.static import static
from django.urls import path

from desk import views as desk
from photos import views as photos

urlpatterns = [
    path("", desk.overview, name="overview"),
    path("progress.json", desk.progress, name="progress"),
    path("photos/", photos.photo_list, name="photos"),
    path("photos/<slug:slug>/", photos.photo_page, name="photo"),
    path("places/", desk.places, name="places"),
    path("places/<str:country>/", desk.country, name="country"),
    path("pages/", desk.pages, name="pages"),
    path("deliveries/", desk.deliveries, name="deliveries"),
    *static(settings.MEDIA_URL, document_root=settings.MEDIA_ROOT),
]
