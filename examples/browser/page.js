// The page: a photo in, the enlarged photo out. What needs the network's code is loaded on first use.

import { enlarge } from './tiles.js';

const RUNTIME = './node_modules/onnxruntime-web/dist/ort.wasm.min.mjs';
const EXPORT = 'sdakd export sdakd_nano_x4 --format onnx';
const COMMANDS = { 'nano.onnx': EXPORT, 'nano_int8.onnx': `${EXPORT} --int8` };

const [controls, photo, model, save, bar, status, before, after] = [
  'controls', 'photo', 'model', 'save', 'bar', 'status', 'before', 'after',
].map((id) => document.getElementById(id));
const sessions = new Map();

/** A mistake that the user can mend; its message says how. */
class UserError extends Error {}

async function load(name) {
  const ort = await import(RUNTIME).catch(() => {
    throw new UserError('onnxruntime-web is not installed: run `npm install` in the folder of this page.');
  });
  ort.env.wasm.proxy = true; // computes in a worker, so that the page stays alive
  const answer = await fetch(name).catch(() => null);
  if (!answer?.ok) throw new UserError(`There is no ${name}: run \`${COMMANDS[name]} --out ${name}\` in its folder.`);
  const content = new Uint8Array(await answer.arrayBuffer());
  const session = await ort.InferenceSession.create(content).catch((error) => {
    throw new UserError(`${name} is damaged, or no network that onnxruntime-web can run: ${error.message}`);
  });
  return async (values, width, height) => {
    const { sr } = await session.run({ lq: new ort.Tensor('float32', values, [1, 3, height, width]) });
    return { values: sr.data, scale: sr.dims[3] / width };
  };
}

function network(name) {
  if (!sessions.has(name)) sessions.set(name, load(name));
  sessions.get(name).catch(() => sessions.delete(name)); // so that one may try again
  return sessions.get(name);
}

/** A canvas of that size. Browsers limit it, and some give one that stays empty. */
function drawingOf(canvas, width, height) {
  Object.assign(canvas, { width, height });
  const drawing = canvas.getContext('2d', { willReadFrequently: true });
  try {
    drawing.fillStyle = 'white'; // what transparency becomes
    drawing.fillRect(0, 0, width, height);
    if (drawing.getImageData(width - 1, height - 1, 1, 1).data[0] === 255) return drawing;
  } catch { /* said below */ }
  Object.assign(canvas, { width: 1, height: 1 });
  throw new UserError(`An image of ${width} x ${height} pixels is too large for this browser; take a smaller photo.`);
}

async function pixelsOf(file) {
  const bitmap = await createImageBitmap(file).catch(() => {
    throw new UserError(`${file.name} is not an image that this browser can read, or is damaged.`);
  });
  const { width, height } = bitmap;
  const drawing = drawingOf(new OffscreenCanvas(1, 1), width, height);
  drawing.drawImage(bitmap, 0, 0);
  bitmap.close();
  return { width, height, read: (...part) => drawing.getImageData(...part).data };
}

async function work(file) {
  const { width, height, read } = await pixelsOf(file);
  URL.revokeObjectURL(before.src);
  before.src = URL.createObjectURL(file);
  status.textContent = 'Loading the network ...';
  const run = await network(model.value);
  const start = performance.now();
  let drawing = null;
  const write = (pixels, left, top, w, h) => drawing.putImageData(new ImageData(pixels, w, h), left, top);
  const progress = (done, all) => {
    [bar.value, bar.max] = [done, all];
    status.textContent = `${done} of ${all} tiles`;
  };
  const runIntoCanvas = async (...image) => {
    const found = await run(...image);
    drawing ??= drawingOf(after, width * found.scale, height * found.scale);
    return found;
  };
  await enlarge(width, height, { read, run: runIntoCanvas, write, progress });
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  status.textContent = `${file.name}: ${width} x ${height} became ${after.width} x ${after.height} pixels in ${seconds} s.`;
}

async function start(file) {
  if (!file || controls.disabled) return;
  document.body.classList.remove('failed', 'done');
  controls.disabled = true;
  bar.value = 0;
  try {
    await work(file);
    save.dataset.name = `${file.name.replace(/\.[^.]*$/, '')}_x4.png`;
    document.body.classList.add('done');
  } catch (error) {
    document.body.classList.add('failed');
    const memory = error instanceof RangeError || /alloc|memory/i.test(error.message);
    status.textContent = error instanceof UserError ? error.message
      : memory ? `The memory is too small for this photo; take a smaller one. (${error.message})`
      : `The photo was not enlarged: ${error.message ?? error}`;
  } finally {
    controls.disabled = false;
  }
}

function download() {
  after.toBlob((blob) => {
    if (!blob) return void (status.textContent = 'The image is too large for this browser to save.');
    const link = Object.assign(document.createElement('a'), { href: URL.createObjectURL(blob), download: save.dataset.name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  });
}

photo.addEventListener('change', () => start(photo.files[0]).then(() => (photo.value = '')));
save.addEventListener('click', download);
document.addEventListener('dragover', (event) => event.preventDefault());
document.addEventListener('drop', (event) => {
  event.preventDefault();
  start(event.dataTransfer.files[0]);
});
controls.disabled = false;
status.textContent = 'Choose a photo, or drop one anywhere on the page.';
