// A whole job by the client that openapi-typescript and openapi-fetch generate from the description: node job.js API FILE
import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

type Job = components["schemas"]["JobView"];

const [base, path] = process.argv.slice(2);
if (!base || !path) throw new Error("Say the API's address and a file.");
const api = createClient<paths>({ baseUrl: base });
const file = await readFile(path);

function must<T>(answer: { data?: T; error?: components["schemas"]["Problem"] }): T {
  if (answer.error) throw new Error(`${answer.error.code}: ${answer.error.detail}`);
  if (answer.data === undefined) throw new Error("Neither an answer nor a problem.");
  return answer.data;
}

async function ended(job_id: string): Promise<Job> {
  for (let tries = 0; tries < 600; tries++) {
    const job = must(await api.GET("/jobs/{job_id}", { params: { path: { job_id } } }));
    if (job.status === "SUCCESS") return job;
    if (job.status === "FAILURE") throw new Error(`${job.error_code}: ${job.error}`);
    await new Promise((next) => setTimeout(next, 200));
  }
  throw new Error("The job has not ended.");
}

// By a presigned URL.
const ticket = must(
  await api.POST("/uploads/presign", {
    body: { filename: basename(path), content_type: "image/jpeg", size: file.length },
  }),
);
const put = await fetch(ticket.url, { method: "PUT", headers: ticket.headers, body: file });
if (!put.ok) throw new Error(`The upload was refused: ${put.status}`);
const wanted: components["schemas"]["FromKeyRequest"] = { key: ticket.key, pipeline: ["thumbnail", "watermark"] };
const estimate = must(await api.POST("/jobs/estimate", { body: wanted }));
const accepted = must(
  await api.POST("/jobs/from-key", {
    body: wanted,
    params: { header: { "Idempotency-Key": crypto.randomUUID() } },
  }),
);
const job = await ended(accepted.job_id);
for (const output of job.outputs) {
  const size = (await (await fetch(output.url)).arrayBuffer()).byteLength;
  if (size !== output.size) throw new Error(`${output.type} has ${size} bytes, not ${output.size}.`);
}

// By a form.
const form = must(
  await api.POST("/jobs/upload", {
    body: { file: "", pipeline: "thumbnail" }, // `format: binary` is a string to openapi-typescript
    bodySerializer: ({ pipeline }) => {
      const fields = new FormData();
      fields.append("file", new Blob([file]), basename(path));
      if (pipeline) fields.append("pipeline", pipeline);
      return fields;
    },
  }),
);
await ended(form.job_id);

const page = must(await api.GET("/jobs", { params: { query: { status: "SUCCESS", limit: 1 } } }));
const refused = await api.GET("/jobs/{job_id}", { params: { path: { job_id: "none" } } });

console.log(
  JSON.stringify({
    filename: job.filename,
    outputs: job.outputs.map((output) => output.type),
    kind: estimate.kind,
    newest: page.jobs[0]?.id === form.job_id,
    refused: refused.error?.code,
  }),
);
