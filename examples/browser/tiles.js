// Enlarges an image in tiles, which bounds the memory. Knows neither the page nor the runtime.

const TILE = 192; // side in pixels of the photo
const PAD = 16; // pixels around a tile that are computed with it and cut off: else there are seams

/**
 * Enlarge an image.
 *
 * read(left, top, width, height): the RGBA values of a part of it, 0..255.
 * run(values, width, height): a network's pass over one RGB image, three planes of 0..1; gives {values, scale}.
 * write(pixels, left, top, width, height): takes a part of the enlarged image, RGBA.
 * progress(done, all): called after each tile; may give a promise.
 */
export async function enlarge(width, height, { read, run, write, progress }) {
  const all = Math.ceil(width / TILE) * Math.ceil(height / TILE);
  let done = 0;
  for (let top = 0; top < height; top += TILE) {
    for (let left = 0; left < width; left += TILE) {
      const right = Math.min(left + TILE, width), bottom = Math.min(top + TILE, height);
      const outer = { left: Math.max(left - PAD, 0), top: Math.max(top - PAD, 0) };
      outer.width = Math.min(right + PAD, width) - outer.left;
      outer.height = Math.min(bottom + PAD, height) - outer.top;
      const rgba = read(outer.left, outer.top, outer.width, outer.height);
      const { values, scale } = await run(toPlanes(rgba), outer.width, outer.height);
      const [x, y, w, h] = [left - outer.left, top - outer.top, right - left, bottom - top].map((each) => each * scale);
      write(toPixels(values, outer.width * scale, outer.height * scale, x, y, w, h), left * scale, top * scale, w, h);
      await progress(++done, all);
    }
  }
}

/** RGBA of 0..255, pixel by pixel, to the planes of R, G and B, range 0..1. */
function toPlanes(rgba) {
  const size = rgba.length / 4;
  const planes = new Float32Array(3 * size);
  for (let channel = 0; channel < 3; channel++) {
    for (let index = 0; index < size; index++) planes[channel * size + index] = rgba[4 * index + channel] / 255;
  }
  return planes;
}

/** The part of planes (width x height) at x, y of size w x h, as RGBA; clamped and rounded. */
function toPixels(planes, width, height, x, y, w, h) {
  const pixels = new Uint8ClampedArray(4 * w * h).fill(255);
  for (let channel = 0; channel < 3; channel++) {
    for (let row = 0; row < h; row++) {
      const from = (channel * height + y + row) * width + x;
      for (let column = 0; column < w; column++) {
        pixels[4 * (row * w + column) + channel] = 255 * planes[from + column];
      }
    }
  }
  return pixels;
}
