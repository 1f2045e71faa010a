// Plots the timelines, and joins them with the video.
'use strict';
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const video = document.getElementById('player');
  const charts = [...document.querySelectorAll('.chart')];
  const calm = matchMedia('(prefers-reduced-motion: reduce)');
  const BAND = 26, ROW = 17, AXIS = 20, COUNT = data.emotions.length;
  const HEIGHT = BAND + 6 + COUNT * ROW + AXIS;
  let now = 0;  // seconds, of the cursor
  let playable = Boolean(video);

  for (const tier of data.tiers) {
    if ('bins' in tier) tier.values = Uint8Array.from(atob(tier.bins), (letter) => letter.charCodeAt(0));
  }

  function clock(seconds, digits = 1) {
    const ticks = Math.round(seconds * 10 ** digits), whole = Math.floor(ticks / 10 ** digits);
    const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
    const two = (number) => String(number).padStart(2, '0');
    const head = hours ? `${hours}:${two(minutes)}` : `${minutes}`;
    return `${head}:${two(whole % 60)}` + (digits ? `.${String(ticks % 10 ** digits).padStart(digits, '0')}` : '');
  }

  // Returns the seven values from 0 to 1 of a tier between two times, or null in a gap.
  function read(tier, begin, end) {
    const sums = new Float64Array(COUNT);
    if (tier.windows) {
      const middle = 500 * (begin + end);
      const found = tier.windows.find((one) => one[0] <= middle && middle < one[1]);
      if (!found) return null;
      sums[found[2]] = found[3] / data.full;
      return sums;
    }
    const bins = tier.values.length / COUNT;
    const first = Math.max(0, Math.floor(begin / data.bin + 1e-6) - tier.first);
    const last = Math.min(bins, Math.max(first + 1, Math.ceil(end / data.bin - 1e-6) - tier.first));
    let number = 0;
    for (let bin = first; bin < last; bin++) {
      if (Math.floor(end / data.bin + 1e-6) < tier.first) break;
      if (tier.values[bin * COUNT] === data.none) continue;
      number++;
      for (let k = 0; k < COUNT; k++) sums[k] += tier.values[bin * COUNT + k] / data.full;
    }
    return number ? sums.map((sum) => sum / number) : null;
  }

  function best(values) {
    return values.indexOf(Math.max(...values));
  }

  // A pattern of lines for each emotion, besides its colour.
  function tile(emotion) {
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = 8;
    const pen = canvas.getContext('2d');
    pen.fillStyle = data.colours[emotion];
    pen.fillRect(0, 0, 8, 8);
    pen.strokeStyle = pen.fillStyle = 'rgba(0, 0, 0, 0.55)';
    pen.lineWidth = 1.5;
    const lines = [
      [], [[0, 8, 8, 0], [-2, 2, 2, -2], [6, 10, 10, 6]], [[0, 0, 8, 8], [-2, 6, 2, 10], [6, -2, 10, 2]], [[0, 4, 8, 4]],
      [], [[4, 0, 4, 8]], [[0, 4, 8, 4], [4, 0, 4, 8]],
    ][emotion];
    for (const [x, y, u, v] of lines) {
      pen.beginPath();
      pen.moveTo(x, y);
      pen.lineTo(u, v);
      pen.stroke();
    }
    if (emotion === 4) pen.fillRect(3, 3, 2.5, 2.5);
    return canvas;
  }
  const tiles = data.emotions.map((_, emotion) => tile(emotion));
  for (const swatch of document.querySelectorAll('.swatch')) {
    swatch.style.backgroundImage = `url(${tiles[swatch.dataset.emotion].toDataURL()})`;
  }

  function gutter(width) {
    return width < 500 ? 62 : 78;
  }

  function plot(chart) {
    const tier = data.tiers[chart.dataset.tier], canvas = chart.firstElementChild;
    const width = chart.clientWidth, scale = devicePixelRatio || 1;
    if (!width) return;
    canvas.style.height = `${HEIGHT}px`;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(HEIGHT * scale);
    const pen = canvas.getContext('2d'), style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    pen.scale(scale, scale);
    const left = gutter(width), span = width - left, step = data.duration / span;
    const hatch = document.createElement('canvas');
    hatch.width = hatch.height = 6;
    const fine = hatch.getContext('2d');
    fine.strokeStyle = colour('--gap');
    fine.lineWidth = 2;
    fine.beginPath();
    for (const shift of [-6, 0, 6]) { fine.moveTo(shift - 1, 7); fine.lineTo(shift + 7, -1); }
    fine.stroke();
    const gap = pen.createPattern(hatch, 'repeat'), fills = tiles.map((one) => pen.createPattern(one, 'repeat'));
    const top = (row) => BAND + 6 + row * ROW;
    const runs = [];  // of equal emotion in the band: [emotion, begin, end] in pixels
    for (let x = 0; x < span; x++) {
      const values = read(tier, x * step, (x + 1) * step);
      const emotion = values ? best(values) : -1;
      if (runs.length && runs[runs.length - 1][0] === emotion) runs[runs.length - 1][2] = x + 1;
      else runs.push([emotion, x, x + 1]);
      if (!values) continue;
      for (let k = 0; k < COUNT; k++) {
        const height = values[k] * (ROW - 3);
        pen.fillStyle = data.colours[k];
        pen.fillRect(left + x, top(k) + ROW - 2 - height, Math.min(1, span - x) + 0.3, height);
        if (values[k] > 0.02) {  // an edge, so that a pale colour shows on a pale page
          pen.fillStyle = colour('--edge');
          pen.fillRect(left + x, top(k) + ROW - 2 - height, 1, 0.8);
        }
      }
    }
    pen.font = '600 12px system-ui, "DejaVu Sans", sans-serif';
    pen.textBaseline = 'middle';
    for (const [emotion, begin, end] of runs) {
      pen.fillStyle = emotion < 0 ? gap : fills[emotion];
      pen.fillRect(left + begin, 1, end - begin, BAND - 2);
      if (emotion < 0) pen.fillRect(left + begin, top(0), end - begin, COUNT * ROW);
      const name = emotion < 0 ? '' : data.emotions[emotion], wide = pen.measureText(name).width + 8;
      if (name && end - begin > wide) {
        pen.fillStyle = 'rgba(255, 255, 255, 0.88)';
        pen.fillRect(left + begin + 2, 5, wide - 2, BAND - 10);
        pen.fillStyle = '#14171c';
        pen.fillText(name, left + begin + 5, BAND / 2 + 0.5);
      }
    }
    pen.font = `${width < 500 ? 11 : 12}px system-ui, "DejaVu Sans", sans-serif`;
    for (let k = 0; k < COUNT; k++) {
      pen.fillStyle = colour('--text');
      pen.fillText(data.emotions[k], 2, top(k) + ROW / 2);
      pen.fillStyle = colour('--line');
      pen.fillRect(left, top(k) + ROW - 1, span, 0.6);
    }
    const marks = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 36000];
    const every = marks.find((one) => one / step > 64) || marks[marks.length - 1];
    pen.fillStyle = colour('--quiet');
    for (let time = 0; time <= data.duration; time += every) {
      pen.fillRect(left + time / step, top(COUNT), 1, 4);
      const text = clock(time, 0);
      pen.fillText(text, Math.min(left + time / step, width - pen.measureText(text).width), top(COUNT) + 12);
    }
  }

  function describe(tier) {
    const values = read(tier, now, now + 0.001);
    if (!values) return tier.windows ? 'silent' : 'no face';
    const emotion = best(values);
    return `${data.emotions[emotion]} ${Math.round(100 * values[emotion])}%`;
  }

  function show() {
    const texts = data.tiers.map(describe);
    for (const cell of document.querySelectorAll('[data-now]')) cell.textContent = texts[cell.dataset.now];
    document.getElementById('now-time').textContent = clock(now);
    for (const chart of charts) {
      const left = gutter(chart.clientWidth), share = data.duration ? Math.min(1, now / data.duration) : 0;
      chart.querySelector('.head').style.left = `${left + share * (chart.clientWidth - left)}px`;
      chart.setAttribute('aria-valuenow', now.toFixed(2));
      chart.setAttribute('aria-valuetext', `${clock(now)}, ${texts[chart.dataset.tier]}`);
    }
  }

  function seek(time) {
    now = Math.min(Math.max(0, time), data.duration);
    if (playable) video.currentTime = now;
    show();
  }

  function toggle() {
    if (!playable) return;
    if (video.paused) video.play().catch(() => {}); else video.pause();
  }

  function timeAt(chart, event) {
    const frame = chart.getBoundingClientRect(), left = gutter(frame.width);
    return (event.clientX - frame.left - left) / (frame.width - left) * data.duration;
  }

  function press(event) {
    const step = event.shiftKey ? 0.04 : 1;
    const moves = {
      ArrowLeft: now - step, ArrowDown: now - step, ArrowRight: now + step, ArrowUp: now + step,
      PageDown: now - 10, PageUp: now + 10, Home: 0, End: data.duration,
    };
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key in moves) seek(moves[event.key]);
    else if (event.key === ' ') toggle();
    else return;
    event.preventDefault();
  }

  for (const chart of charts) {
    chart.addEventListener('pointerdown', (event) => {
      if (event.button) return;
      chart.setPointerCapture(event.pointerId);
      seek(timeAt(chart, event));
    });
    chart.addEventListener('pointermove', (event) => {
      if (chart.hasPointerCapture(event.pointerId)) seek(timeAt(chart, event));
    });
    chart.addEventListener('keydown', press);
  }
  for (const button of document.querySelectorAll('[data-seek]')) {
    button.addEventListener('click', () => seek(Number(button.dataset.seek)));
  }

  function follow() {
    now = Math.min(video.currentTime, data.duration);
    show();
    if (!video.paused && !calm.matches) requestAnimationFrame(follow);
  }
  if (video) {
    const give_up = () => { playable = false; video.hidden = true; document.getElementById('unplayable').hidden = false; };
    if (video.error) give_up();
    video.addEventListener('error', give_up);
    for (const name of ['play', 'timeupdate', 'seeked', 'ended']) {
      video.addEventListener(name, () => { if (calm.matches || video.paused || name === 'play') follow(); });
    }
  }

  function plotAll() {
    charts.forEach(plot);
    show();
  }
  new ResizeObserver(plotAll).observe(document.body);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', plotAll);
  plotAll();
})();
