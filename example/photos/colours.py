"""The colours of a picture: its mean and the few that cover most of it."""

from PIL import Image, ImageStat


def mean_colour(image):
    """Return the mean colour of an RGB image as `#rrggbb`."""
    return hex_colour(round(value) for value in ImageStat.Stat(image).mean)


def palette(image, size=6):
    """Return up to `size` colours as `{"colour": "#rrggbb", "percent": 12.5}`, the most frequent first."""
    quantized = image.quantize(size, method=Image.Quantize.MEDIANCUT, kmeans=3)
    values = quantized.getpalette()
    pixels = image.width * image.height
    return [
        {"colour": hex_colour(values[3 * index : 3 * index + 3]), "percent": round(100 * count / pixels, 1)}
        for count, index in sorted(quantized.getcolors(), reverse=True)
    ]


def hex_colour(channels):
    return "#" + "".join(f"{channel:02x}" for channel in channels)
