// transformers.js under Node: the folder as a local model; the graph is chosen by dtype, as its users do.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";

// the packages lie in the working directory, not beside this file
const require = createRequire(join(process.cwd(), "/"));
const { env, pipeline } = require("@huggingface/transformers");
const DTYPES = { "onnx/model.onnx": "fp32", "onnx/model_quantized.onnx": "q8", "onnx/model_fp16.onnx": "fp16" };
const POOLING = { mean: "mean", cls: "cls", lasttoken: "last_token" };

env.allowRemoteModels = false;
const [request_file, answer_file] = process.argv.slice(2);
const request = JSON.parse(readFileSync(request_file, "utf-8"));
const vectors = [];
for (const { folder, graph, batch_size } of request.runs) {
  env.localModelPath = dirname(folder);
  const extract = await pipeline("feature-extraction", basename(folder), { dtype: DTYPES[graph], device: "cpu" });
  const rows = [];
  for (let start = 0; start < request.texts.length; start += batch_size) {
    const batch = request.texts.slice(start, start + batch_size);
    rows.push(...(await extract(batch, { pooling: POOLING[request.pooling], normalize: true })).tolist());
  }
  vectors.push(rows);
  await extract.dispose();
}
const { version } = require("onnxruntime-node/package.json");
const versions = { "transformers.js": env.version, onnxruntime: version };
writeFileSync(answer_file, JSON.stringify({ versions, vectors }));
