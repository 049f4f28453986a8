/* Encodes the page's query by the static encoder, in the browser, and shows what tuned's index finds for the vector. */
import { StaticEncoder } from "./static_encoder.js";

const ROUNDS = 5; // the fastest gives the time: the first ones compile
const RUNS = 50; // of one query in a round: browsers blur the time of a single one

async function fetched(path, options) {
  const response = await fetch(path, options);
  if (!response.ok) throw new Error(`${path}: ${(await response.text()).slice(0, 300)}`);
  return response;
}

/* Returns the encoder of the two files that the server has of it. */
async function loaded() {
  const files = ["tokenizer.json", "model.safetensors"].map((name) => fetched(`/static/${name}`));
  const [content, vectors] = await Promise.all(files);
  return new StaticEncoder(await content.json(), await vectors.arrayBuffer());
}

/* Returns the query's vector and the milliseconds that it takes. */
function timed(encoder, query) {
  let milliseconds = Infinity;
  for (let round = 0; round < ROUNDS; round += 1) {
    const start = performance.now();
    for (let run = 0; run < RUNS; run += 1) encoder.encode(query);
    milliseconds = Math.min(milliseconds, (performance.now() - start) / RUNS);
  }
  return { vector: encoder.encode(query), milliseconds };
}

async function show(status, list) {
  status.textContent = "loading token vectors";
  const { query } = status.dataset;
  const { vector, milliseconds } = timed(await loaded(), query);
  if (!vector.some((number) => number)) {
    status.textContent = "no token of this query has a vector";
    return;
  }
  const body = JSON.stringify({ query, vector: Array.from(vector) });
  const found = await fetched("/vector", { method: "POST", headers: { "Content-Type": "application/json" }, body });
  list.innerHTML = await found.text(); // escaped by the server, as the page is
  const time = document.createElement("b");
  time.textContent = `${milliseconds.toFixed(3)}\u00a0ms`;
  status.replaceChildren("encoded in ", time, " (JavaScript on this page); changes of rank against tuned");
}

const status = document.getElementById("on-page");
if (status) {
  show(status, document.getElementById("on-page-hits")).catch((error) => {
    status.textContent = `not encoded on this page: ${error.message}`;
  });
}
