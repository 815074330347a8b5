// COCO's masks: compressed run lengths, plain ones, and polygons, as pixels.

/** Lengths of runs, first of what is outside, down the columns, from COCO's compressed text (its rleFrString). */
export function runs(text) {
  const counts = [];
  for (let place = 0; place < text.length; ) {
    let value = 0, shift = 0, more = true;
    while (more) {
      const part = text.charCodeAt(place++) - 48;
      value |= (part & 0x1f) << (5 * shift++);
      more = (part & 0x20) !== 0;
      if (!more && part & 0x10) value |= -1 << (5 * shift);
    }
    if (counts.length > 2) value += counts[counts.length - 2];
    counts.push(value);
  }
  return counts;
}

/** One byte a pixel, 1 inside, row by row. */
export function bitmap({ size: [height, width], counts }) {
  const pixels = new Uint8Array(height * width);
  let place = 0, inside = 0;
  for (const run of typeof counts === "string" ? runs(counts) : counts) {
    if (inside)
      for (let n = place; n < place + run; n++) pixels[(n % height) * width + Math.floor(n / height)] = 1;
    place += run;
    inside = 1 - inside;
  }
  return pixels;
}

/** A picture of a mask within its box, as a data URL, and where it lies. */
export function picture(segmentation, [x, y, w, h], [red, green, blue], alpha) {
  const [height, width] = segmentation.size;
  const left = Math.max(0, Math.floor(x)), top = Math.max(0, Math.floor(y));
  const right = Math.min(width, Math.ceil(x + w)), bottom = Math.min(height, Math.ceil(y + h));
  if (right <= left || bottom <= top) return null;
  const inside = bitmap(segmentation);
  const canvas = document.createElement("canvas");
  canvas.width = right - left;
  canvas.height = bottom - top;
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  for (let row = top; row < bottom; row++)
    for (let column = left; column < right; column++)
      if (inside[row * width + column]) image.data.set([red, green, blue, Math.round(255 * alpha)], 4 * ((row - top) * canvas.width + column - left));
  context.putImageData(image, 0, 0);
  return { href: canvas.toDataURL(), x: left, y: top, width: canvas.width, height: canvas.height };
}
