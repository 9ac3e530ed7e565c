"""The task of the photo desk: a standard Django task, without anything of Mainspring's own."""

from io import BytesIO

from django.core.files.base import ContentFile
from django.tasks import task
from PIL import Image, ImageOps

from .colours import mean_colour, palette
from .models import Photo

THUMBNAIL_SIZE = (480, 480)


@task(queue_name="photos")
def make_thumbnail(photo_id):
    """Write the thumbnail of a photo and measure its colours; return the thumbnail's size in pixels."""
    photo = Photo.objects.get(pk=photo_id)
    with photo.file.open() as file, Image.open(file) as original:
        image = ImageOps.exif_transpose(original).convert("RGB")
    photo.width, photo.height = image.size
    image.thumbnail(THUMBNAIL_SIZE, Image.Resampling.LANCZOS)
    photo.thumbnail.save(f"{photo.slug}.jpg", jpeg(image), save=False)
    photo.mean_colour = mean_colour(image)
    photo.palette = palette(image)
    photo.status = Photo.Status.DONE
    photo.save()
    return list(image.size)


def jpeg(image):
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=82, optimize=True)
    return ContentFile(buffer.getvalue())
