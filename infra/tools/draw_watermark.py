"""Draws the default watermark, chalicelib/assets/watermark.png: `python -m infra.tools.draw_watermark`."""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageFilter, ImageFont

from infra.paths import ROOT

TARGET = ROOT / "chalicelib" / "assets" / "watermark.png"
HEIGHT = 160


def draw() -> Image.Image:
    """A sluice gate and the name, white on a soft shadow, so that it is visible on light and dark."""
    font = ImageFont.load_default(size=112)
    left, top, right, bottom = font.getbbox("sluice")
    gate, gap, pad = 96, 30, 24
    size = (round(pad + gate + gap + right - left + pad), HEIGHT)
    shape = Image.new("L", size, 0)
    pen = ImageDraw.Draw(shape)
    high, low = 28, HEIGHT - 28
    pen.rectangle((pad, high, pad + 13, low), fill=255)
    pen.rectangle((pad + gate - 13, high, pad + gate, low), fill=255)
    pen.rectangle((pad + 22, high, pad + gate - 22, high + 44), fill=255)
    for number in range(3):
        y = high + 60 + number * 18
        pen.rounded_rectangle((pad + 22, y, pad + gate - 22, y + 9), radius=4, fill=255)
    baseline = (HEIGHT - (bottom - top)) // 2 - top
    pen.text((pad + gate + gap - left, baseline), "sluice", font=font, fill=255)
    shadow = shape.filter(ImageFilter.GaussianBlur(7)).point(lambda value: min(150, value))
    mark = Image.new("RGBA", size, (0, 0, 0, 0))
    mark.paste((0, 0, 0), mask=shadow)
    mark.putalpha(shadow)
    white = Image.new("RGBA", size, (255, 255, 255, 255))
    white.putalpha(shape)
    return Image.alpha_composite(mark, white)


if __name__ == "__main__":
    draw().save(TARGET, optimize=True)
