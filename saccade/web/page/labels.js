// Maps of labels: a grey PNG whose values are classes, drawn in the classes' colours.

/** {height, width, values}: one byte a pixel, its class, 255 for none. */
export async function decode(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const image = await createImageBitmap(new Blob([bytes], { type: "image/png" }), options);
  const canvas = new OffscreenCanvas(image.width, image.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, image.width, image.height);
  const values = new Uint8Array(image.width * image.height);
  for (let n = 0; n < values.length; n++) values[n] = data[4 * n];
  return { height: image.height, width: image.width, values };
}

/** Draw on a canvas; a class that is left clear has no colour, and where `only` is given the others fade. */
export function paint(canvas, { height, width, values }, colours, clear, only = null) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let n = 0; n < values.length; n++) {
    const label = values[n];
    if (label === clear) continue;
    const [red, green, blue] = label === 255 ? [128, 128, 128] : colours[label];
    const faded = only !== null && label !== only;
    image.data.set([red, green, blue, faded ? 40 : 255], 4 * n);
  }
  context.putImageData(image, 0, 0);
}
