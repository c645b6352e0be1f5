const data = JSON.parse(document.getElementById('data').textContent);
const $ = id => document.getElementById(id);
function si(value) {
  const unit = [[1e12, ' T'], [1e9, ' G'], [1e6, ' M'], [1e3, ' k']].find(([size]) => value >= size) || [1, ''];
  return +(value / unit[0]).toPrecision(4) + unit[1];
}
function number(metric, value) {
  return value == null ? '–' : metric === 'psnr' ? value.toFixed(2) : value.toFixed(metric === 'niqe' ? 3 : 4);
}
function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}
function fill(select, entries) {  // [[value, text], ...]
  select.replaceChildren(...entries.map(([value, text]) => element('option', {value, textContent: text})));
}
const SVG = 'http://www.w3.org/2000/svg';
const COLORS = ['#2f7ed8', '#d9622b', '#2b9a57', '#a64dc4', '#c9a212', '#d23f73', '#159aa3', '#7a6a58'];
function drawn(tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}
function ticks(low, high) {  // about five round numbers
  const rough = (high - low) / 5, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find(factor => factor * power >= rough), found = [];
  for (let index = Math.ceil(low / step); index * step <= high; index++) found.push(index * step);
  return found;
}
