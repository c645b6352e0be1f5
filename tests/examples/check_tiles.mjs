// A network that looks at 3x3 pixels and enlarges twice: an image of several tiles must be that of the whole, without seams.
// node check_tiles.mjs TILES_JS prints {wrong: index of the first wrong value or -1, calls of progress}.

const { enlarge } = await import(process.argv[2]);
const [width, height] = [401, 203], photo = new Uint8ClampedArray(4 * width * height).fill(255);
for (let index = 0; index < photo.length; index++) if (index % 4 < 3) photo[index] = (index * 7919) % 256;
const read = (left, top, w, h) => {
  const found = new Uint8ClampedArray(4 * w * h);
  for (let row = 0; row < h; row++) {
    const from = 4 * ((top + row) * width + left);
    found.set(photo.subarray(from, from + 4 * w), 4 * row * w);
  }
  return found;
};
const run = async (values, w, h) => {
  const found = new Float32Array(3 * 4 * w * h);
  const at = (channel, y, x) => (y < 0 || x < 0 || y >= h || x >= w ? 0 : values[(channel * h + y) * w + x]);
  for (let c = 0; c < 3; c++) for (let y = 0; y < 2 * h; y++) for (let x = 0; x < 2 * w; x++) {
    let sum = 0;
    for (const dy of [-1, 0, 1]) for (const dx of [-1, 0, 1]) sum += at(c, (y >> 1) + dy, (x >> 1) + dx);
    found[(c * 2 * h + y) * 2 * w + x] = sum / 4 - 0.5;
  }
  return { values: found, scale: 2 };
};
const sr = new Uint8ClampedArray(4 * photo.length), calls = [];
const write = (pixels, left, top, w, h) => {
  for (let row = 0; row < h; row++) sr.set(pixels.subarray(4 * row * w, 4 * (row + 1) * w), 4 * ((top + row) * 2 * width + left));
};
await enlarge(width, height, { read, run, write, progress: (...counts) => void calls.push(counts) });
const planes = new Float32Array(3 * width * height);
for (let c = 0; c < 3; c++) for (let i = 0; i < width * height; i++) planes[c * width * height + i] = photo[4 * i + c] / 255;
const { values } = await run(planes, width, height), size = 4 * width * height;
const wrong = sr.findIndex((value, index) => value !== (index % 4 === 3 ? 255
  : new Uint8ClampedArray([255 * values[(index % 4) * size + (index >> 2)]])[0]));
console.log(JSON.stringify({ wrong, calls: calls.join(' ') }));
