// The inverse of stages/reporting/labs/digits.py.

const PIXELS = 784, LEVELS = 15; // an even number of pixels, two a byte: grey levels 0 to 15

/** The bytes that were deflated and written in base64. */
async function inflate(text) {
  if (typeof DecompressionStream !== "function") throw new Error("this browser has no DecompressionStream");
  const packed = new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))]);
  const stream = packed.stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

let unpacked; // once, for all labs

/** The page's digits: how many to train on and how many are held out, their labels, and 784 grey levels of each. */
function unpackDigits() {
  return unpacked ??= unpack();
}

async function unpack() {
  const { train, held_out, labels, digits } = JSON.parse(document.getElementById("digits-data").textContent);
  const pairs = new Uint8Array(await inflate(digits));
  const greys = Uint8Array.from({ length: 2 * pairs.length }, (_, i) => (pairs[i >> 1] >> (4 * (i % 2))) & 15);
  return { train, heldOut: held_out, labels, greys, levels: LEVELS };
}
