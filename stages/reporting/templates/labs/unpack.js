// The inverse of stages/reporting/labs/digits.py, for the page and for its worker.

const PIXELS = 784, LEVELS = 15; // an even number of pixels, two a byte: grey levels 0 to 15

/** The bytes that were deflated and written in base64. */
async function inflate(text) {
  const packed = new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))]);
  const stream = packed.stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

/** The grey levels of all digits, 784 for each. */
async function unpackGreys({ digits }) {
  const pairs = new Uint8Array(await inflate(digits));
  return Uint8Array.from({ length: 2 * pairs.length }, (_, i) => (pairs[i >> 1] >> (4 * (i % 2))) & 15);
}
